"""Who may run what, and in which order: needs, explanations, priorities, deadlines, back-off, quarantine."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from server_kit import MACHINE, Kit, opened_kit, result
from xwhep.common.errors import InvalidRequest
from xwhep.common.wire import App, Binary, Job, JobSpec, JobState, Needs
from xwhep.server.checks import check_machine, check_scheduling
from xwhep.server.explain import DRAINING, QUARANTINE, Standing, explain, known_lacks, obstacles
from xwhep.server.matching import Candidate, fits, shortfalls
from xwhep.server.store.records import LossRule, WorkerRecord, kind_of
from xwhep.worker.settings import words

APP = App(id="a", name="a", owner="o", created_at=0, binaries=[Binary(os="any", arch="any", sha256="a" * 64, size=1)])
GIB = 1024**3
BIG = msgspec.structs.replace(
    MACHINE, cpu_count=8, ram_bytes=16 * GIB, disk_free_bytes=100 * GIB, shared=["python3"], labels=["gpu", "fast"]
)
NODE = Candidate(id="w1", name="node1", machine=BIG, group="lab")

MET = [
    Needs(),
    Needs(os="linux", arch="x86_64"),
    Needs(cpu_count=8, ram_bytes=16 * GIB, disk_bytes=100 * GIB),
    Needs(shared=["python3"], labels=["fast", "gpu"]),
    Needs(worker="w1"),
    Needs(worker="node1", worker_group="lab"),
]
UNMET = [
    (Needs(os="windows"), "os"),
    (Needs(arch="aarch64"), "arch"),
    (Needs(cpu_count=9), "cpu_count"),
    (Needs(ram_bytes=16 * GIB + 1), "ram_bytes"),
    (Needs(disk_bytes=101 * GIB), "disk_bytes"),
    (Needs(shared=["python3", "java"]), "shared"),
    (Needs(labels=["slow"]), "labels"),
    (Needs(worker="node2"), "worker"),
    (Needs(worker_group="office"), "worker_group"),
]


@pytest.mark.parametrize("needs", MET)
def test_a_worker_with_all_that_is_needed_fits(needs):
    assert fits(kind_of("a", "ann", needs), APP, NODE)


@pytest.mark.parametrize(("needs", "field"), UNMET)
def test_what_is_lacking_is_named_alone(needs, field):
    (lack,) = shortfalls(kind_of("a", "ann", needs), APP, NODE)
    assert lack.need == field
    assert not fits(kind_of("a", "ann", needs), APP, NODE)


@pytest.mark.parametrize(
    ("knows", "signer", "shared", "runs"),
    [
        ([], "", "", True),
        ([], "k1", "", True),
        (["k1", "k2"], "k2", "", True),
        (["k1"], "k2", "", False),
        (["k1"], "", "", False),
        (["k1"], "", "python3", True),  # the owner of the machine installed it
    ],
)
def test_a_worker_that_knows_signers_runs_what_they_signed(knows, signer, shared, runs):
    node = msgspec.structs.replace(BIG, signers=knows)
    binaries = [] if shared else [msgspec.structs.replace(APP.binaries[0], signer=signer)]
    app = msgspec.structs.replace(APP, binaries=binaries, shared=shared)
    lacks = [lack.need for lack in shortfalls(kind_of("a", "ann", Needs()), app, replace(NODE, machine=node))]
    assert lacks == ([] if runs else ["signer"])


def test_signers_matter_for_the_binary_that_would_run():
    """The one for its own kind of machine comes before the one for any; what it cannot run at all is not its trust."""
    signed = msgspec.structs.replace(APP.binaries[0], signer="k1")
    own = Binary(os="linux", arch="x86_64", sha256="b" * 64, size=1)
    node = replace(NODE, machine=msgspec.structs.replace(BIG, signers=["k1"]))
    kind = kind_of("a", "ann", Needs())
    assert not fits(kind, msgspec.structs.replace(APP, binaries=[signed, own]), node)
    (lack,) = shortfalls(kind, msgspec.structs.replace(APP, binaries=[msgspec.structs.replace(own, os="plan9")]), node)
    assert lack.need == "app"


def test_each_need_is_covered_here():
    assert {field for _, field in UNMET} == set(Needs.__struct_fields__)


def job(state: JobState = JobState.PENDING, **fields: object) -> Job:
    return Job(app="a", id="j", owner="ann", state=state, revision=1, created_at=0, **fields)


def standing(needs: Needs, *, free: bool = True) -> Standing:
    return Standing(lacks=tuple(shortfalls(kind_of("a", "ann", needs), APP, NODE)), free=free)


def test_an_explanation_counts_who_lacks_what():
    found = explain(job(), [standing(Needs(cpu_count=9)), standing(Needs(cpu_count=9, labels=["slow"]))])
    assert found.text == ("no worker fits; 2 workers are there: 2 have fewer than 9 processors; 1 lack the label slow")
    assert (found.workers, found.fitting, found.busy) == (2, 0, 0)
    assert [(failing.need, failing.wanted, failing.workers) for failing in found.failing] == [
        ("cpu_count", "9", 2),
        ("labels", "slow", 1),
    ]


@pytest.mark.parametrize(
    ("standings", "text"),
    [
        ([], "no worker is there: start one, or see xw worker list"),
        ([standing(Needs(), free=False)], "1 worker is there, 1 can run it, and it is busy"),
        ([standing(Needs())], "1 worker is there, 1 can run it, of which 1 is free: it starts soon"),
        (
            [standing(Needs(), free=False), standing(Needs(os="windows"))],
            "2 workers are there, 1 can run it, and it is busy; of the others: 1 do not run windows",
        ),
    ],
    ids=["nobody", "busy", "free", "busy and unfit"],
)
def test_what_a_pending_job_waits_for_in_words(standings, text):
    assert explain(job(), standings).text == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (job(JobState.WAITING, waits="for 1 job that must be completed first"), "it waits for 1 job that must"),
        (job(JobState.FAILED, reason="exit code 2"), "it is failed: exit code 2"),
        (job(JobState.RUNNING, worker="node1"), "it runs on node1"),
    ],
    ids=["waiting", "failed", "running"],
)
def test_every_other_state_is_explained_without_workers(given, text):
    assert explain(given, []).text.startswith(text)


def test_of_a_worker_that_serves_others_nothing_more_is_told():
    needs = Needs(worker="another", os="plan9")
    lacks = known_lacks(QUARANTINE, *shortfalls(kind_of("a", "ann", needs), APP, replace(NODE, serves=frozenset("b"))))
    assert [lack.need for lack in lacks] == ["visibility"]
    assert len(known_lacks(QUARANTINE, *shortfalls(kind_of("a", "ann", needs), APP, NODE))) == 3


def test_quarantine_and_draining_keep_a_worker_from_every_job():
    record = WorkerRecord(
        id="w", name="n", machine=MACHINE, last_seen_at=0, left_at=0, running=(), quarantined_until=11.0, draining=True
    )
    assert obstacles(record, 10.0) == [QUARANTINE, DRAINING]
    assert obstacles(record, 11.0) == [DRAINING]
    assert obstacles(None, 0.0) == []


WRONG = [
    {"priority": 101},
    {"priority": -101},
    {"deadline_at": float("nan")},
    {"wall_clock_s": -1.0},
    {"max_attempts": 0},
    {"group": "a\nb"},
    {"session": "x" * 300},
    {"after": ["x"] * 1025},
    {"replicas": 0},
    {"replicas": 65},
    {"replicas": 2, "quorum": 3},
    {"needs": Needs(cpu_count=-1)},
    {"needs": Needs(os="a/b")},
    {"needs": Needs(labels=[""])},
]


@pytest.mark.parametrize("fields", WRONG, ids=[str(fields)[:40] for fields in WRONG])
def test_a_schedule_that_makes_no_sense_is_refused(fields):
    with pytest.raises(InvalidRequest):
        check_scheduling(JobSpec(app="a", **fields))


# The store.


def test_the_server_takes_every_label_that_a_worker_may_have():
    labels = list(words("gpu,site=lab7,os:trixie,rack/3,c++,4.5_GHz," + "x" * 64))
    check_machine(msgspec.structs.replace(MACHINE, labels=labels))
    check_scheduling(JobSpec(app="a", needs=Needs(labels=labels)))


@pytest.mark.parametrize("label", ["", "two words", "x" * 65, "caf\u00e9", "a,b"])
def test_and_no_other(label):
    with pytest.raises(InvalidRequest, match="label"):
        check_machine(msgspec.structs.replace(MACHINE, labels=[label]))


@pytest.fixture
def scenario(fast_folder, run):
    """Run a coroutine function that takes a kit."""

    def start(function, workers: int = 3):
        async def main():
            async with opened_kit(fast_folder, workers) as kit:
                await function(kit)

        run(main)

    return start


def test_higher_priorities_come_first_then_the_order_of_submission(scenario):
    async def check(k: Kit):
        low, normal, high, again = [await k.submit(priority=priority) for priority in (-5, 0, 7, 0)]
        other = await k.submit(priority=3, needs=Needs(cpu_count=1))  # another kind: the order holds across kinds
        assert [(await k.lease()).id for _ in range(5)] == [high, other, normal, again, low]

    scenario(check)


def test_a_job_not_started_by_its_deadline_fails_and_a_started_one_goes_on(scenario):
    async def check(k: Kit):
        started, late = await k.submit(deadline_at=1010.0), await k.submit(deadline_at=1010.0)
        assert (await k.lease()).id == started
        k.clock.now = 1009.0
        assert await k.store.jobs.time_passes(LossRule()) == []
        k.clock.now = 1010.0
        (failed,) = await k.store.jobs.time_passes(LossRule())
        assert (failed.id, failed.state, failed.reason) == (late, "failed", "it was not started by its deadline")
        assert await k.state(started) == "running"

    scenario(check)


def test_a_job_that_its_worker_does_not_stop_in_time_is_given_up(scenario):
    async def check(k: Kit):
        job_id = await k.submit(wall_clock_s=100.0)
        lease = await k.lease()
        assert lease.wall_clock_s == 100.0
        k.clock.now += 159
        assert await k.store.jobs.time_passes(LossRule()) == []
        k.clock.now += 1
        (failed,) = await k.store.jobs.time_passes(LossRule())
        assert (failed.id, failed.state) == (job_id, "failed")
        assert failed.reason.startswith("wall clock limit")

    scenario(check)


def test_the_servers_wall_clock_holds_where_the_job_says_nothing(scenario):
    async def check(k: Kit):
        await k.submit()
        assert (await k.lease()).wall_clock_s == 6 * 3600

    scenario(check)


def test_a_second_loss_makes_the_job_wait_twice_as_long_as_the_next(scenario):
    async def check(k: Kit):
        job_id = await k.submit(max_attempts=9)
        rule = LossRule(limit=9, back_off_s=5.0)
        waits = []
        for worker in ("w1", "w2", "w3", "w1"):
            assert await k.lease(worker)
            job = await k.store.jobs.lose(await k.expire(), rule)
            waits.append(job.not_before - k.clock.now if job.state == "waiting" else 0.0)
            k.clock.now += 60
            assert [moved.id for moved in await k.store.jobs.time_passes(rule)] == [job_id][: len(waits) - 1]
            assert await k.state(job_id) == "pending"
        assert waits == [0.0, 5.0, 10.0, 20.0]

    scenario(check)


def test_the_spec_may_allow_fewer_attempts_than_the_server(scenario):
    async def check(k: Kit):
        await k.submit(max_attempts=1)
        await k.lease()
        job = await k.store.jobs.lose(await k.expire(), LossRule(limit=3))
        assert (job.state, job.reason) == ("failed", "lost 1 times, last with worker w1 was lost")

    scenario(check)


def test_a_job_that_a_worker_refuses_runs_on_another(scenario):
    async def check(k: Kit):
        job_id = await k.submit(max_attempts=2)
        refused = result(code=126, reason="worker refused: no room")
        job = await k.finish(await k.leased("w1"), refused, avoid_until=k.clock.now + 50)
        assert (job.state, job.reason) == ("pending", "worker refused: no room")
        assert await k.lease("w1") is None
        failed = await k.finish(await k.leased("w2"), refused)
        assert (failed.id, failed.state, failed.reason) == (job_id, "failed", "worker refused: no room")

    scenario(check)


async def standing_of(k: Kit, worker: str) -> tuple[int, float]:
    (found,) = [record for record in await k.store.people.workers() if record.id == worker]
    return found.failures_in_row, found.quarantined_until


def test_a_worker_that_loses_too_many_in_a_row_is_put_away_then_gets_one_at_a_time(scenario):
    async def check(k: Kit):
        rule = LossRule(limit=99, quarantine_after=2, quarantine_s=60.0)
        for _ in range(8):
            await k.submit(max_attempts=99)
        for _ in range(2):
            await k.lease("w1")
            await k.store.jobs.lose(await k.expire(), rule)
        assert await standing_of(k, "w1") == (2, k.clock.now + 60)
        assert await k.lease("w1") is None
        assert await k.lease("w2")
        k.clock.now += 60
        probation = await k.leased("w1")
        assert await k.lease("w1") is None  # one at a time
        k.clock.now -= 1  # so that only w1's is renewed below
        await k.store.jobs.renew([probation], k.clock.now + 100)
        failed = result(code=126, reason="worker refused: broken")
        await k.finish(probation, failed, quarantine_after=2, quarantine_s=60.0, limit=99)
        assert (await standing_of(k, "w1"))[1] == pytest.approx(k.clock.now + 60, abs=120)

    scenario(check)


def test_a_second_quarantine_lasts_twice_as_long_and_a_success_forgives_all(scenario):
    async def check(k: Kit):
        rule = {"limit": 99, "quarantine_after": 1, "quarantine_s": 60.0}
        refused = result(code=126, reason="worker refused: broken")
        for length in (60.0, 120.0, 240.0):
            await k.submit(max_attempts=99)
            await k.finish(await k.leased("w1"), refused, **rule)
            assert (await standing_of(k, "w1"))[1] == k.clock.now + length
            k.clock.now += length
        await k.finish(await k.leased("w1"))
        assert (await standing_of(k, "w1"))[0] == 0
        await k.finish(await k.leased("w1"), refused, **rule)
        assert (await standing_of(k, "w1"))[1] == k.clock.now + 60.0

    scenario(check)


def test_a_program_that_fails_is_its_workers_fault_only_if_it_works_elsewhere(scenario):
    async def check(k: Kit):
        for _ in range(8):
            await k.submit()
        for _ in range(3):
            await k.finish(await k.leased("w1"), result(code=1), quarantine_after=2)
        assert await standing_of(k, "w1") == (0, 0)
        await k.finish(await k.leased("w2"))
        for _ in range(2):
            await k.finish(await k.leased("w1"), result(code=1), quarantine_after=2)
        assert (await standing_of(k, "w1"))[1] > k.clock.now

    scenario(check)


def test_what_was_lost_together_is_one_quarantine(scenario):
    async def check(k: Kit):
        for _ in range(6):
            await k.submit()
            await k.lease("w1")
        k.clock.now += 16
        for gone in await k.store.jobs.expired(10):
            await k.store.jobs.lose(gone, LossRule(limit=99, quarantine_after=2))
        assert (await standing_of(k, "w1"))[1] == k.clock.now + 60

    scenario(check)
