"""Wake-ups, watchers, the fleet, the reaper and who-is-asking, without HTTP."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from xwhep.common.errors import DiskFull
from xwhep.common.wire import App, Binary, Machine, Needs
from xwhep.server.catalogue import AppCatalogue, KindCatalogue
from xwhep.server.fleet import Fleet
from xwhep.server.matching import Candidate
from xwhep.server.pace import Pace
from xwhep.server.reaper import Reaper
from xwhep.server.retries import Retries
from xwhep.server.scheduler import ChangeListener, Dispatcher, JobWatchers
from xwhep.server.settings import Settings
from xwhep.server.store.records import (
    Attempt,
    Change,
    Expired,
    Kind,
    WorkerRecord,
)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def machine(arch: str = "x86_64") -> Machine:
    return Machine(os="linux", arch=arch, cpu_count=1, cpu_model="", ram_bytes=1, disk_free_bytes=1, version="")


def app(name: str, arch: str = "any") -> App:
    return App(
        id=name, name=name, owner="o", created_at=0, binaries=[Binary(os="any", arch=arch, sha256="a" * 64, size=1)]
    )


def worker(name: str, arch: str = "x86_64") -> Candidate:
    return Candidate(id=name, name=f"node of {name}", machine=machine(arch))


def kind(app_id: str) -> Kind:
    return Kind(id=app_id, app_id=app_id, owner="ann", replica=0, needs=Needs())


@pytest.fixture
def catalogue():
    apps = AppCatalogue()
    apps.put(app("everywhere"))
    apps.put(app("arm", "aarch64"))
    made = KindCatalogue(apps)
    for name in ("everywhere", "arm"):
        made.put(kind(name))
        made.open(name)
    return made


def pending(name: str, **fields: object) -> Change:
    return Change(pending_kind=name, **fields)


def test_the_first_that_fits_is_woken_and_each_for_one_job(catalogue):
    dispatcher = Dispatcher(catalogue)
    with dispatcher.waiting(worker("w1")) as first, dispatcher.waiting(worker("w2", "aarch64")) as second:
        dispatcher.wake(pending("arm"))
        assert (first.woken.is_set(), second.woken.is_set()) == (False, True)
        dispatcher.wake(pending("everywhere"))
        assert first.woken.is_set()
        assert (first.sleep(), second.sleep()) == ("everywhere", "arm")


@pytest.mark.parametrize(
    ("waiting", "pending_jobs", "slots", "share"),
    [(1, 3, 8, 3), (1, 20, 8, 8), (4, 4, 8, 1), (4, 10, 8, 3), (4, 100, 8, 8), (200, 64, 8, 1), (200, 500, 8, 8)],
)
def test_few_jobs_are_shared_and_many_fill_every_slot(catalogue, waiting, pending_jobs, slots, share):
    dispatcher = Dispatcher(catalogue)
    with contextlib.ExitStack() as stack:
        for number in range(waiting):
            stack.enter_context(dispatcher.waiting(worker(f"w{number}")))
        counted = min(pending_jobs, dispatcher.enough_for(slots))
        assert dispatcher.share(counted, slots) == share


def test_so_many_are_woken_as_there_are_jobs(catalogue):
    dispatcher = Dispatcher(catalogue)
    with (
        dispatcher.waiting(worker("w1")) as first,
        dispatcher.waiting(worker("w2")) as second,
        dispatcher.waiting(worker("w3")) as third,
    ):
        dispatcher.wake(pending("everywhere", count=2))
        assert [one.woken.is_set() for one in (first, second, third)] == [True, True, False]
        first.sleep()
        second.sleep()


def test_an_avoided_worker_is_not_woken(catalogue):
    dispatcher = Dispatcher(catalogue)
    with dispatcher.waiting(worker("w1")) as first, dispatcher.waiting(worker("w2")) as second:
        dispatcher.wake(pending("everywhere", avoid=frozenset({"w1"})))
        assert (first.woken.is_set(), second.woken.is_set()) == (False, True)
        second.sleep()


def test_a_wake_up_that_was_not_used_is_passed_on(catalogue):
    dispatcher = Dispatcher(catalogue)
    with dispatcher.waiting(worker("w2")) as stays:
        with dispatcher.waiting(worker("w1")) as leaves:
            stays.wake("everywhere")  # so that the leaver gets the next one
            dispatcher.wake(pending("everywhere"))
            assert leaves.woken.is_set()
            stays.sleep()
        assert stays.sleep() == "everywhere"


def test_who_was_woken_in_vain_tells_the_next_and_never_one_before(catalogue):
    dispatcher = Dispatcher(catalogue)
    with (
        dispatcher.waiting(worker("w1")) as first,
        dispatcher.waiting(worker("w2")) as second,
        dispatcher.waiting(worker("w3")) as third,
    ):
        dispatcher.pass_on(second, "everywhere")
        assert [one.woken.is_set() for one in (first, second, third)] == [False, False, True]
        third.sleep()
        dispatcher.pass_on(third, "everywhere")
        assert [one.woken.is_set() for one in (first, second, third)] == [False, False, False]


def test_a_new_app_fits_requests_that_wait_already(catalogue):
    assert catalogue.fitting(worker("w1")) == ("everywhere",)
    catalogue._apps.put(app("new", "x86_64"))
    catalogue.put(kind("new"))
    assert catalogue.fitting(worker("w1")) == ("everywhere",)
    catalogue.open("new")
    assert catalogue.fitting(worker("w1")) == ("everywhere", "new")


def test_a_kind_without_pending_jobs_is_not_looked_at_until_one_appears(catalogue, run):
    run(lambda: catalogue.close_empty(FakeStore()))
    assert catalogue.open_ids() == ["everywhere"]
    catalogue.open("arm")
    assert catalogue.open_ids() == ["everywhere", "arm"]
    run(lambda: catalogue.close_empty(FakeStore()))
    run(lambda: catalogue.forget_ended(FakeStore()))
    catalogue.open("arm")
    assert catalogue.open_ids() == ["everywhere"]


def test_a_stop_wakes_all_and_passes_nothing_on(catalogue):
    dispatcher = Dispatcher(catalogue)
    with dispatcher.waiting(worker("w1")) as first, dispatcher.waiting(worker("w2")) as second:
        dispatcher.stop()
        assert first.woken.is_set()
        assert second.woken.is_set()


def test_watchers_hear_of_their_job_only_and_are_forgotten():
    watchers = JobWatchers()
    with watchers.watching("j1") as one, watchers.watching("j2") as two:
        watchers.changed("j1")
        assert (one.is_set(), two.is_set()) == (True, False)
        watchers.stop()
        assert two.is_set()
    assert watchers._events == {}


def test_a_commit_tells_watchers_and_waiting_workers(catalogue):
    dispatcher, watchers = Dispatcher(catalogue), JobWatchers()
    tell = ChangeListener(kinds=catalogue, dispatcher=dispatcher, watchers=watchers)
    with watchers.watching("j1") as watched, dispatcher.waiting(worker("w1")) as waiting:
        tell([Change(job_id="j1")])
        assert (watched.is_set(), waiting.woken.is_set()) == (True, False)
        catalogue._apps.put(app("new"))
        tell([Change(pending_kind="new", new_kind=kind("new"))])
        assert waiting.sleep() == "new"


# fleet


def stored(**fields: object) -> WorkerRecord:
    base = {"id": "w", "name": "node", "machine": machine(), "last_seen_at": 900.0, "left_at": 0.0, "running": ()}
    return WorkerRecord(**{**base, **fields})


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fleet(clock):
    return Fleet(15.0, clock)


def test_states_of_a_worker(fleet, clock):
    assert fleet.view(stored(), []).state == "lost"
    assert fleet.view(stored(last_seen_at=990.0), []).state == "idle"
    assert fleet.view(stored(left_at=950.0), []).state == "left"
    fleet.announce("w", "node", machine())
    assert fleet.view(stored(), []).state == "idle"
    assert fleet.view(stored(running=(("j", "ann"),)), ["j"]).state == "busy"
    clock.now += 16
    assert fleet.view(stored(), []).state == "lost"
    fleet.seen("w")
    assert fleet.view(stored(), []).last_seen_at == clock.now
    fleet.forget("w")
    assert fleet.live() == []


def test_a_parked_worker_lives_while_it_is_heard(fleet, clock):
    """Its open request says nothing: a cut line looks the same."""
    fleet.announce("w", "node", machine())
    with fleet.parked("w"):
        for _ in range(10):
            clock.now += 10
            fleet.seen("w")
            assert fleet.hears("w")
        assert [found.id for found in fleet.live()] == ["w"]
        clock.now += 16
        assert not fleet.hears("w")
        assert fleet.view(stored(), []).state == "lost"
        assert fleet.live() == []


def test_only_news_are_saved_and_the_long_gone_forgotten(fleet, clock):
    fleet.announce("w", "node", machine())
    assert fleet.take_unsaved() == [("w", 1000.0, machine())]
    assert fleet.take_unsaved() == []
    fleet.seen("w")
    assert len(fleet.take_unsaved()) == 1
    clock.now += 1000
    fleet.take_unsaved()
    assert fleet._present == {}


def test_heartbeats_and_leases_stretch_with_the_fleet(clock):
    fleet = Fleet(15.0, clock, 10.0)
    pace = Pace(fleet=fleet)
    assert (pace.heartbeat_s, pace.lease_s) == (5.0, 15.0)
    for number in range(50):
        fleet.announce(f"w{number}", "node", machine())
    assert (pace.heartbeat_s, pace.lease_s) == (5.0, 15.0)
    for number in range(1000):
        fleet.announce(f"w{number}", "node", machine())
    assert (pace.heartbeat_s, pace.lease_s) == (100.0, 300.0)
    clock.now += 299
    assert fleet.view(stored(id="w1"), []).state == "idle"


# reaper


class FakeJobs:
    """The store as far as the reaper goes."""

    def __init__(self) -> None:
        self.waiting: list[Expired] = []
        self.rules: list[float] = []
        self.extended: list[float] = []
        self.fails = False

    async def expired(self, limit):
        if self.fails:
            raise DiskFull("full")
        return self.waiting[:limit]

    async def lose(self, expired, rule):
        self.rules.append(rule.avoid_until)

    async def extend_leases(self, until):
        self.extended.append(until)
        return 1

    async def kind_waits(self, kind_id):
        return kind_id == "everywhere"

    async def kinds(self):
        return []

    async def time_passes(self, rule):
        return []


class FakeUpkeep:
    rounds = 0

    async def tidy(self):
        self.rounds += 1


class FakeStore:
    def __init__(self) -> None:
        self.jobs = FakeJobs()
        self.people = self
        self.saved: list[object] = []

    async def workers_seen(self, seen):
        self.saved.extend(seen)


@pytest.fixture
def reaper(catalogue, fleet, clock):
    settings, pace = Settings(lease_seconds=15.0), Pace(fleet=fleet)
    return Reaper(
        settings=settings,
        store=FakeStore(),
        fleet=fleet,
        pace=pace,
        retries=Retries(settings=settings, fleet=fleet, kinds=catalogue, pace=pace, clock=clock),
        upkeep=FakeUpkeep(),
        dispatcher=Dispatcher(catalogue),
        clock=clock,
    )


def expired(kind_id: str = "everywhere") -> Expired:
    return Expired(attempt=Attempt(job_id="j", number=1, worker_id="w1"), kind=kind_id, worker_name="node1", losses=0)


@pytest.mark.parametrize(
    ("others", "avoid_until"), [([], 0.0), ([machine()], 1015.0)], ids=["nobody else", "another that fits"]
)
def test_the_loser_waits_only_when_there_is_another(reaper, run, others, avoid_until):
    reaper.store.jobs.waiting = [expired()]
    reaper.fleet.announce("w1", "node1", machine())
    for other in others:
        reaper.fleet.announce("w2", "node2", other)
    run(reaper.reap)
    assert reaper.store.jobs.rules == [avoid_until]


def test_another_that_does_not_fit_is_nobody(reaper, run, fleet):
    reaper.store.jobs.waiting = [expired("arm")]
    fleet.announce("w2", "node2", machine("x86_64"))
    run(reaper.reap)
    assert reaper.store.jobs.rules == [0.0]


def test_a_clock_that_jumps_loses_no_worker(reaper, run, clock):
    run(reaper.tick)
    clock.now += 1
    run(reaper.tick)
    assert reaper.store.jobs.extended == []
    clock.now += 3600
    run(reaper.tick)
    assert reaper.store.jobs.extended == [clock.now + 15.0]


def test_each_tick_wakes_for_jobs_whose_time_came_and_saves_the_fleet(reaper, run, fleet):
    fleet.announce("w", "node", machine())
    with reaper.dispatcher.waiting(worker("w")) as waiting:
        run(reaper.tick)
        assert waiting.woken.is_set()
        waiting.woken.clear()
    assert len(reaper.store.saved) == 1


def test_the_store_is_tidied_now_and_then_not_at_every_tick(reaper, run, clock):
    for seconds in (0, 1, 1, 700, 1):
        clock.now += seconds
        run(reaper.tick)
    assert reaper.upkeep.rounds == 2


def test_a_full_disk_does_not_end_the_reaper(reaper):
    reaper.settings = Settings(lease_seconds=0.05)

    async def scenario():
        reaper.store.jobs.fails = True
        task = asyncio.create_task(reaper.run())
        await asyncio.sleep(0.05)
        assert not task.done()
        reaper.store.jobs.fails = False
        reaper.store.jobs.waiting = [expired()]
        await asyncio.sleep(0.05)
        assert reaper.store.jobs.rules
        task.cancel()

    asyncio.run(scenario())
