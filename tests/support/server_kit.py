"""A store with a few people in it, for tests of what the server must not forget."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from xwhep.common.wire import AppSpec, Binary, Job, JobResult, JobSpec, JobState, Machine, ResultFile
from xwhep.server.store.protocol import Store
from xwhep.server.store.records import (
    Account,
    Attempt,
    Change,
    Delivery,
    Expired,
    Inputs,
    LeasedJob,
    LeaseWish,
    LossRule,
    NewJob,
    NewWorker,
)
from xwhep.server.store.sqlite import SqliteStore

HASH = {letter: letter * 64 for letter in "abcdef"}
MACHINE = Machine(
    os="linux", arch="x86_64", cpu_count=1, cpu_model="", ram_bytes=1, disk_free_bytes=1, version="", isolation=""
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Kit:
    """A store with a user, an app and two workers in it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock, self.app_id = store, clock, ""
        self.changes: list[Change] = []

    async def fill(self, workers: int = 2) -> None:
        self.store.on_change(self.changes.extend)
        for login in ("ann", "bob"):
            await self.store.people.add_user(Account(login=login, role="user", password_hash="hash"))
        for number in range(1, workers + 1):
            worker = NewWorker(id=f"w{number}", name=f"node{number}", token_hash=f"t{number}", machine=MACHINE)
            await self.store.people.enrol(worker)
        binary = Binary(os="any", arch="any", sha256=HASH["a"], size=1)
        self.app_id = (await self.store.assets.save_app("ann", AppSpec(name="tool", binaries=[binary]))).id

    async def submit(self, owner: str = "ann", *, inputs: Inputs | None = None, **spec: object) -> str:
        new = NewJob(owner=owner, app_id=self.app_id, spec=JobSpec(app="tool", **spec), inputs=inputs or Inputs())
        return (await self.store.jobs.submit(new)).id

    async def lease(
        self, worker: str = "w1", *, apps: tuple[str, ...] | None = None, user: str = ""
    ) -> LeasedJob | None:
        leased = await self.lease_many(worker, 1, apps=apps, user=user)
        assert len(leased) <= 1
        return leased[0] if leased else None

    async def lease_many(
        self, worker: str, slots: int, *, apps: tuple[str, ...] | None = None, user: str = ""
    ) -> list[LeasedJob]:
        until = self.clock.now + 15
        found = await self.store.jobs.kinds()
        kinds = tuple(kind.id for kind in found if apps is None or kind.app_id in apps)
        wish = LeaseWish(worker_id=worker, worker_name=worker, kinds=kinds, until=until, user=user, most=slots)
        return await self.store.jobs.lease(wish)

    async def leased(self, worker: str = "w1") -> Attempt:
        job = await self.lease(worker)
        assert job is not None
        return Attempt(job_id=job.id, number=job.attempt, worker_id=worker)

    async def state(self, job_id: str) -> JobState:
        job = await self.store.jobs.job(job_id)
        assert job is not None
        return job.state

    async def finish(self, attempt: Attempt, given: JobResult | None = None, **rule: object) -> Job:
        delivery = Delivery(attempt=attempt, result=given or result(), rule=LossRule(**rule))
        return await self.store.jobs.finish(delivery)

    async def job(self, job_id: str) -> Job:
        job = await self.store.jobs.job(job_id)
        assert job is not None
        return job

    async def expire(self) -> Expired:
        self.clock.now += 16
        (expired,) = await self.store.jobs.expired(10)
        return expired


def result(code: int = 0, stdout: str = "b", reason: str = "") -> JobResult:
    out = ResultFile(path="stdout", sha256=HASH[stdout], size=1)
    return JobResult(
        exit_code=code, stdout=out, stderr=ResultFile(path="stderr", sha256=HASH["c"], size=0), reason=reason
    )


def open_sqlite(folder: Path, clock: Clock) -> Store:
    return SqliteStore(folder / "xwhep.db", synchronous="OFF", clock=clock)


@asynccontextmanager
async def opened_kit(folder: Path, workers: int = 2) -> AsyncIterator[Kit]:
    """A fresh kit over SQLite."""
    clock = Clock()
    store = open_sqlite(folder, clock)
    await store.open()
    made = Kit(store, clock)
    await made.fill(workers)
    try:
        yield made
    finally:
        await store.close()
