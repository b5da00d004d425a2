"""The transition table, on its own and against what the store really does."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import FINAL_STATES, AppSpec, JobResult, JobSpec, JobState, Machine, Needs, ResultFile
from xwhep.server.store.records import (
    Account,
    Attempt,
    Delivery,
    Inputs,
    LeaseWish,
    LossRule,
    NewJob,
    NewWorker,
    kind_of,
)
from xwhep.server.store.sqlite import SqliteStore
from xwhep.server.transitions import TRANSITIONS, Event, after

HASH = "a" * 64
LEASE_S = 15.0
LOST_LIMIT = 2


def test_final_states_are_left_by_nothing():
    assert not [pair for pair in TRANSITIONS if pair[0] in FINAL_STATES]


def test_every_state_that_is_not_final_can_be_cancelled():
    assert {state for state, event in TRANSITIONS if event is Event.CANCEL} == set(JobState) - FINAL_STATES


def test_every_state_and_event_is_used():
    reached = set(TRANSITIONS.values()) | {JobState.WAITING}
    assert reached == set(JobState)
    assert {event for _, event in TRANSITIONS} == set(Event)


def test_a_result_counts_only_while_the_job_runs():
    for event in (Event.COMPLETE, Event.FAIL):
        assert [state for state, found in TRANSITIONS if found is event] == [JobState.RUNNING]


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("event", list(Event))
def test_what_is_not_in_the_table_is_refused(state, event):
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(Conflict):
            after(state, event)


def result(code: int) -> JobResult:
    file = ResultFile(path="stdout", sha256=HASH, size=0)
    return JobResult(exit_code=code, stdout=file, stderr=file)


class StoreFollowsTheTable(RuleBasedStateMachine):
    """Random lives of one job: the model is the table, and the store must agree at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.now = 1000.0
        self.loop = asyncio.new_event_loop()
        self.store = SqliteStore(Path(self.folder.name) / "x.db", synchronous="OFF", clock=lambda: self.now)
        self.do(self._fill())
        self.state = JobState.PENDING
        self.attempt, self.losses, self.until, self.revision = 0, 0, 0.0, 1
        self.old: list[Attempt] = []

    def do(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def _fill(self) -> None:
        await self.store.open()
        await self.store.people.add_user(Account(login="ann", role="user", password_hash=""))
        machine = Machine(os="linux", arch="x", cpu_count=1, cpu_model="", ram_bytes=1, disk_free_bytes=1, version="")
        await self.store.people.enrol(NewWorker(id="w", name="w", token_hash="t", machine=machine))
        app = await self.store.assets.save_app("ann", AppSpec(name="tool", shared="python3"))
        self.kind = kind_of(app.id, "ann", Needs()).id
        new = NewJob(owner="ann", app_id=app.id, spec=JobSpec(app="tool"), inputs=Inputs())
        self.job_id = (await self.store.jobs.submit(new)).id

    def current(self) -> Attempt:
        return Attempt(job_id=self.job_id, number=self.attempt, worker_id="w")

    def expect(self, event: Event) -> bool:
        """Whether the table allows it; the model then takes the step."""
        if (self.state, event) not in TRANSITIONS:
            return False
        self.state = TRANSITIONS[self.state, event]
        self.revision += 1
        return True

    @rule()
    def lease(self):
        wish = LeaseWish(worker_id="w", worker_name="w", kinds=(self.kind,), until=self.now + LEASE_S)
        leased = self.do(self.store.jobs.lease(wish))
        if self.expect(Event.LEASE):
            self.attempt, self.until = self.attempt + 1, self.now + LEASE_S
            assert [one.attempt for one in leased] == [self.attempt]
            self.old.append(self.current())
        else:
            assert leased == []

    @rule(code=st.sampled_from([0, 1]))
    def deliver(self, code):
        delivery = Delivery(attempt=self.current(), result=result(code))
        if self.expect(Event.FAIL if code else Event.COMPLETE):
            self.do(self.store.jobs.finish(delivery))
            return
        try:
            self.do(self.store.jobs.finish(delivery))
        except Conflict:
            pass
        else:  # only the same result again is fine
            assert self.state is (JobState.FAILED if code else JobState.COMPLETED)

    @rule(data=st.data())
    def deliver_stale(self, data):
        stale = [attempt for attempt in self.old if attempt.number != self.attempt]
        if stale:
            attempt = data.draw(st.sampled_from(stale))
            with pytest.raises(Conflict):
                self.do(self.store.jobs.finish(Delivery(attempt=attempt, result=result(0))))

    @rule()
    def renew(self):
        refused = self.do(self.store.jobs.renew([self.current()], self.now + LEASE_S))
        assert bool(refused) == (self.state is not JobState.RUNNING)
        if not refused:
            self.until = max(self.until, self.now + LEASE_S)

    @rule()
    def hand_back(self):
        returned = self.do(self.store.people.worker_left("w", [self.current()]))
        assert bool(returned) == self.expect(Event.HAND_BACK)

    @rule()
    def cancel(self):
        before = self.state
        if self.expect(Event.CANCEL) or before is JobState.CANCELLED:
            self.do(self.store.jobs.cancel(self.job_id))
        else:
            with pytest.raises(Conflict):
                self.do(self.store.jobs.cancel(self.job_id))

    @rule(seconds=st.sampled_from([1.0, 10.0, 20.0]))
    def time_passes(self, seconds):
        self.now += seconds
        expired = self.do(self.store.jobs.expired(10))
        assert bool(expired) == (self.state is JobState.RUNNING and self.until <= self.now)
        for one in expired:
            self.do(self.store.jobs.lose(one, LossRule(limit=LOST_LIMIT, avoid_until=0)))
            self.expect(Event.LOSE)
            self.losses += 1
            self.expect(Event.GIVE_UP if self.losses >= LOST_LIMIT else Event.RETURN)

    @rule()
    def delete_is_refused_while_it_lives(self):
        if self.state not in FINAL_STATES:
            with pytest.raises(Conflict):
                self.do(self.store.jobs.delete(self.job_id))
        with pytest.raises(NotFound):
            self.do(self.store.jobs.delete("unknown"))

    @invariant()
    def the_store_agrees(self):
        job = self.do(self.store.jobs.job(self.job_id))
        assert (job.state, job.attempt, job.revision) == (self.state, self.attempt, self.revision)
        assert (job.result is not None) <= (job.state in (JobState.COMPLETED, JobState.FAILED))

    def teardown(self):
        self.do(self.store.close())
        self.loop.close()
        self.folder.cleanup()


TestStoreFollowsTheTable = StoreFollowsTheTable.TestCase
TestStoreFollowsTheTable.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
