"""Random lives of many jobs: needs met or not, dependencies, replicas, losses; the store against the table and against
what must always hold."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server_kit import Clock, Kit, open_sqlite, result
from xwhep.common.errors import Conflict, InvalidRequest
from xwhep.common.wire import FINAL_STATES, JobSpec, JobState
from xwhep.server.store import sqlite_rows
from xwhep.server.store.records import Delivery, Finished, JobFilter, LossRule
from xwhep.server.transitions import TRANSITIONS

RULE = LossRule(limit=3, back_off_s=5.0, quarantine_after=3, quarantine_s=20.0)
WORKERS = ("w1", "w2", "w3", "w4")
SHM = Path("/dev/shm")
EDGES = {(before, after) for (before, _), after in TRANSITIONS.items()}
# A step that moves a job twice in one transaction shows only its ends.
TWO_STEPS = {(first, last) for first, middle in EDGES for again, last in EDGES if middle == again}


class JobsLiveByTheTable(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=SHM if SHM.is_dir() else None)
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.kit = Kit(open_sqlite(Path(self.folder.name), self.clock), self.clock)
        self.do(self.kit.store.open())
        self.do(self.kit.fill(len(WORKERS)))
        self.held: dict[tuple[str, int], object] = {}  # every attempt that was ever leased
        self.seen: dict[str, tuple[JobState, int]] = {}
        self.delivered: dict[str, int] = {}  # job to the attempt whose result was taken
        self.submitted: list[str] = []
        self.families: dict[tuple[str, str], str] = {}  # (job, worker) to the replica of it that it ran

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    def jobs(self):
        return self.do(self.kit.store.jobs.jobs(JobFilter(limit=1000)))

    @rule(
        priority=st.sampled_from([-1, 0, 1]),
        replicas=st.sampled_from([1, 1, 2, 3]),
        deadline=st.sampled_from([0.0, 0.0, 30.0]),
        data=st.data(),
    )
    def submit(self, priority, replicas, deadline, data):
        ids = [job.id for job in self.jobs()]
        after = data.draw(st.lists(st.sampled_from(ids), max_size=2)) if ids else []
        fields = {"after": after, "deadline_at": deadline and self.clock.now + deadline, "wall_clock_s": 40.0}
        dead = [job for job in self.jobs() if job.id in after and job.state in FINAL_STATES - {JobState.COMPLETED}]
        try:
            self.submitted.append(self.do(self.kit.submit(priority=priority, replicas=replicas, **fields)))
        except InvalidRequest:
            assert dead
        else:
            assert not dead

    @rule(worker=st.sampled_from(WORKERS), slots=st.sampled_from([1, 1, 2, 5]))
    def lease(self, worker, slots):
        leased = self.do(self.kit.lease_many(worker, slots))
        assert len(leased) <= slots
        for one in leased:
            self._leased(one, worker)
        if leased:
            (row,) = self.rows(leased[-1].id)
            waiting = self.kit.store._database.read(
                lambda tx: tx._connection.execute(
                    "SELECT max(priority) FROM jobs WHERE state = 'pending' AND kind <> '' AND avoids = 0"
                ).fetchone()[0]
            )
            # A replica left out for its sibling's sake makes room for none of a lower priority.
            assert waiting is None or waiting <= row["priority"] or len(leased) < slots

    def rows(self, job_id):
        return self.kit.store._database.read(lambda tx: tx.all("job_get", id=job_id))

    def _leased(self, leased, worker):
        (row,) = self.rows(leased.id)
        assert (leased.id, leased.attempt) not in self.held
        self.held[leased.id, leased.attempt] = worker
        if row["family"]:
            # Nobody runs two replicas of a job; the same one may come back to it.
            assert self.families.setdefault((row["family"], worker), leased.id) == leased.id

    @rule(code=st.sampled_from([0, 0, 0, 1]), stdout=st.sampled_from("bbbd"), refused=st.booleans(), data=st.data())
    def deliver(self, code, stdout, refused, data):
        attempt = self._some_attempt(data)
        if attempt is None:
            return
        current = self.do(self.kit.store.jobs.is_current(attempt))
        reason = "worker refused: broken" if refused and code else ""
        try:
            self.do(self.kit.finish(attempt, result(code=code, stdout=stdout, reason=reason)))
        except Conflict:
            assert not current

    @rule(data=st.data(), stdout=st.sampled_from("bd"))
    def deliver_many(self, data, stdout):
        """In one message: those that are current end, the others change nothing and harm none."""
        if not self.held:
            return
        keys = data.draw(st.lists(st.sampled_from(list(self.held)), min_size=1, max_size=5, unique=True))
        attempts = [sqlite_rows.Attempt(job_id=key[0], number=key[1], worker_id=self.held[key]) for key in keys]
        current = [self.do(self.kit.store.jobs.is_current(attempt)) for attempt in attempts]
        before = [self.rows(attempt.job_id)[0]["revision"] for attempt in attempts]
        deliveries = [Delivery(attempt=attempt, result=result(stdout=stdout), rule=RULE) for attempt in attempts]
        outcomes = self.do(self.kit.store.jobs.finish_many(deliveries, {}))
        for attempt, was_current, outcome, revision in zip(attempts, current, outcomes, before, strict=True):
            if isinstance(outcome, Finished):
                again = not was_current
                assert (self.rows(attempt.job_id)[0]["revision"] == revision) == again
                self.delivered.setdefault(attempt.job_id, attempt.number)
                assert self.delivered[attempt.job_id] == attempt.number  # a job has one result
            else:
                assert isinstance(outcome, Conflict)
                # A quorum may have stopped a replica that was current when the message began.
                assert not was_current or len(attempts) > 1

    @rule()
    def restart(self):
        """The server stops and starts: nothing is forgotten."""
        seen = self.jobs()
        self.do(self.kit.store.close())
        self.kit.store = open_sqlite(Path(self.folder.name), self.clock)
        self.do(self.kit.store.open())
        assert self.jobs() == seen

    def _some_attempt(self, data):
        if not self.held:
            return None
        job_id, number = data.draw(st.sampled_from(list(self.held)))
        return sqlite_rows.Attempt(job_id=job_id, number=number, worker_id=self.held[job_id, number])

    @rule(data=st.data())
    def hand_back(self, data):
        attempt = self._some_attempt(data)
        if attempt is not None:
            current = self.do(self.kit.store.jobs.is_current(attempt))
            assert bool(self.do(self.kit.store.people.worker_left(attempt.worker_id, [attempt]))) == current

    @rule(data=st.data())
    def cancel(self, data):
        if jobs := self.jobs():
            job = data.draw(st.sampled_from(jobs))
            stopped = self.do(self.kit.store.jobs.cancel_many([job.id]))
            assert bool(stopped) == (job.state not in FINAL_STATES)

    @rule(seconds=st.sampled_from([1.0, 6.0, 16.0]))
    def time_passes(self, seconds):
        self.clock.now += seconds
        for gone in self.do(self.kit.store.jobs.expired(100)):
            self.do(self.kit.store.jobs.lose(gone, RULE))
        self.do(self.kit.store.jobs.time_passes(RULE))

    @invariant()
    def no_job_is_lost(self):
        assert sorted(job.id for job in self.jobs()) == sorted(self.submitted)

    @invariant()
    def attempts_without_a_result_are_bounded(self):
        """Those that are handed back are not: nobody was at fault."""
        for job_id, _ in self.held:
            (row,) = self.rows(job_id)
            assert row["losses"] <= RULE.limit
            assert row["losses"] + row["refusals"] <= JobSpec(app="tool").max_attempts

    @invariant()
    def every_step_is_in_the_table(self):
        for job in self.jobs():
            before, revision = self.seen.get(job.id, (job.state, 0))
            assert job.revision >= revision
            steps = EDGES | TWO_STEPS | {(before, before)}
            assert (before, job.state) in steps or job.revision > revision + 1
            assert before not in FINAL_STATES or (job.state, job.revision) == (before, revision)
            self.seen[job.id] = (job.state, job.revision)

    @invariant()
    def what_waits_has_a_reason_and_what_ended_an_end(self):
        state = {job.id: job.state for job in self.jobs()}
        for job in self.jobs():
            assert (job.state is JobState.WAITING) == bool(job.waits)
            assert (job.state in FINAL_STATES) == bool(job.ended_at)
            assert job.state is not JobState.LOST
            if job.state in (JobState.PENDING, JobState.RUNNING, JobState.COMPLETED):
                assert all(state[before] is JobState.COMPLETED for before in job.after)
            if job.state is JobState.FAILED:
                assert job.reason
            if job.state is JobState.COMPLETED:
                assert job.result is not None

    @invariant()
    def replicas_follow_their_job(self):
        for job in self.jobs():
            if job.replicas == 1:
                continue
            job = self.do(self.kit.job(job.id))  # noqa: PLW2901 - the same with its replicas
            open_runs = [run for run in job.runs if JobState(run.state) not in FINAL_STATES]
            if job.state in FINAL_STATES:
                assert not open_runs
            elif job.state is not JobState.WAITING:
                assert open_runs
            assert len(job.runs) <= 2 * job.replicas
            if job.state is JobState.COMPLETED:
                assert sum(run.agreed is True for run in job.runs) >= job.replicas // 2 + 1
                assert len({run.worker for run in job.runs if run.agreed}) == sum(bool(run.agreed) for run in job.runs)

    def teardown(self):
        self.do(self.kit.store.close())
        self.loop.close()
        self.folder.cleanup()


TestJobsLiveByTheTable = JobsLiveByTheTable.TestCase
TestJobsLiveByTheTable.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
