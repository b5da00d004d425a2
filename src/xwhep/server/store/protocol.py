"""The store's interface. Every write is atomic and durable when its call returns; a refused one changes nothing.

Times are UTC seconds since 1970. Methods raise the classes of xwhep.common.errors: NotFound, Conflict, DiskFull.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from xwhep.common.errors import Conflict
from xwhep.common.wire import App, AppSpec, Datum, DatumSpec, Job, Machine, User
from xwhep.server.store.identity_protocol import Identity, Tokens
from xwhep.server.store.records import (
    Account,
    Attempt,
    Change,
    Delivery,
    Expired,
    Finished,
    JobFilter,
    Kind,
    LeasedJob,
    LeaseWish,
    LossRule,
    NewJob,
    NewWorker,
    SessionRecord,
    WorkerRecord,
)


class People(Protocol):
    async def add_user(self, account: Account) -> None:
        """Raises: Conflict: the login is taken."""

    async def account(self, login: str) -> Account | None: ...

    async def users(self) -> list[User]: ...

    async def add_session(self, token_hash: str, login: str, expires_at: float) -> None: ...

    async def session(self, token_hash: str) -> SessionRecord | None:
        """None when unknown or expired."""

    async def enrol(self, worker: NewWorker) -> None: ...

    async def workers(self) -> list[WorkerRecord]: ...

    async def workers_seen(self, seen: Sequence[tuple[str, float, Machine]]) -> None:
        """Notes (worker id, when, what it said of itself)."""

    async def worker_left(self, worker_id: str, handed_back: Sequence[Attempt]) -> list[Attempt]:
        """The worker stops; its attempts that it hands back are pending again. Returns those that were."""


class Assets(Protocol):
    async def save_app(self, owner: str, spec: AppSpec) -> App:
        """A new app, or for one that exists: the spec's binaries join or replace those of the same os and arch;
        a shared asset replaces everything. Who may do that is the caller's question."""

    async def app(self, name: str) -> App | None: ...

    async def apps(self) -> list[App]: ...

    async def app_of_job(self, job_id: str) -> App | None:
        """The app that a job runs or ran, also when it is removed: for rights."""

    async def remove_app(self, app: App) -> None:
        """Jobs that ran it stay. Raises: NotFound: it is gone; Conflict: jobs that have not ended need it."""

    async def add_datum(self, owner: str, spec: DatumSpec) -> Datum:
        """Registering the same content under the same name again returns the first. Raises: Conflict: other content."""

    async def datum(self, owner: str, name_or_id: str) -> Datum | None:
        """The owner's datum of that name, else the datum with that id, whoever owns it."""

    async def data(self, owner: str, groups: Collection[str] = (), *, for_jobs: bool = True) -> list[Datum]:
        """Those that `owner`, with its groups, may read, all when it is empty; `for_jobs`: also those for jobs only."""

    async def remove_datum(self, datum: Datum) -> None:
        """Raises: as remove_app."""

    async def drop_idle_data(self, before: float, limit: int) -> list[str]:
        """Forgets data for jobs only that no job names and nobody registered since `before`; returns their ids."""

    async def hold_blob(self, sha256: str, holder: str) -> None: ...

    async def put_small(self, sha256: str, content: bytes, holder: str) -> None:
        """Keep a content in the store itself, for who uploaded it."""

    async def small(self, sha256: str) -> bytes | None:
        """A content that the store itself keeps."""

    async def small_size(self, sha256: str) -> int | None: ...

    async def drop_unused_blobs(self, before: float, limit: int, remove: Callable[[str], bool]) -> list[str]:
        """Forget contents that nothing names and that nobody uploaded since `before`, at most `limit`; returns them.

        `remove` deletes the content; it is called in the transaction, and one for which it returns False stays."""

    async def holds_blob(self, sha256: str, holder: str) -> bool: ...

    async def user_names_blob(self, sha256: str, login: str, groups: Collection[str] = ()) -> bool:
        """Whether something names the blob that the login, with its groups, may read."""

    async def worker_needs_blob(self, sha256: str, worker_id: str) -> bool: ...


class Jobs(Protocol):
    async def submit(self, new: NewJob) -> Job:
        """The new job, or the one that its key made before. Raises: NotFound, InvalidRequest: what it comes after."""

    async def submit_many(self, jobs: Sequence[NewJob]) -> list[str]:
        """All of them or none; ids in the order given. They share one key, or have none. Raises: as `submit`."""

    async def job(self, job_id: str) -> Job | None: ...

    async def replica(self, job_id: str, number: int) -> Job | None:
        """One of the runs of a job with replicas, which is no job of its own for anybody but the worker."""

    async def jobs(self, wanted: JobFilter) -> list[Job]:
        """Newest first."""

    async def open_ids(self, wanted: JobFilter) -> list[str]:
        """Of the jobs of an owner in a group or session, those that have not ended."""

    async def count(self, wanted: JobFilter) -> dict[str, int]:
        """How many jobs of an owner in a group or session are in each state."""

    async def cancel(self, job_id: str) -> Job:
        """Raises: NotFound; Conflict: it has ended."""

    async def cancel_many(self, ids: Sequence[str]) -> list[str]:
        """Those that were stopped; the others had ended. One transaction."""

    async def delete_old(self, before: float, limit: int) -> list[str]:
        """Deletes jobs that ended before that time, at most so many; returns their ids."""

    async def delete(self, job_id: str) -> None:
        """Raises: NotFound; Conflict: it has not ended."""

    async def delete_together(self, wanted: JobFilter) -> list[str]:
        """The jobs of an owner in a group or session, in one transaction; returns their ids. Raises: as delete_many."""

    async def delete_many(self, ids: Sequence[str]) -> list[str]:
        """Raises: Conflict: one of them has not ended; then none is deleted. Those that are gone are left out."""

    async def lease(self, wish: LeaseWish) -> list[LeasedJob]: ...

    async def renew(self, attempts: Sequence[Attempt], until: float) -> list[Attempt]:
        """Returns those that are no longer the worker's."""

    async def finish(self, delivery: Delivery) -> Job:
        """The same result delivered again changes nothing and is fine. Raises: Conflict: the attempt is stale."""

    async def finish_many(
        self, deliveries: Sequence[Delivery], contents: Mapping[str, bytes]
    ) -> list[Finished | Conflict]:
        """The same for many in one transaction, each with its outcome: a stale one changes nothing and harms no other.
        `contents`, by sha256, are kept where a taken result names them."""

    async def extend_leases(self, until: float) -> int: ...

    async def expired(self, limit: int) -> list[Expired]: ...

    async def lose(self, expired: Expired, rule: LossRule) -> Job | None:
        """None when the lease was renewed or the job ended meanwhile."""

    async def is_current(self, attempt: Attempt) -> bool:
        """Whether the attempt still holds its job."""

    async def time_passes(self, rule: LossRule) -> list[Job]:
        """Ends back-offs, and gives up jobs past their deadline or wall clock; returns the jobs it changed."""

    async def kinds(self) -> list[Kind]:
        """Of the jobs that have not ended."""

    async def kind_of_job(self, job_id: str) -> list[Kind]:
        """What a job that has not ended is matched by; several for one with replicas."""

    async def count_waiting(self, kinds: Sequence[str], limit: int) -> int:
        """How many jobs of these kinds are pending, counted up to `limit`."""

    async def kind_waits(self, kind_id: str) -> bool:
        """Whether a job of that kind is pending."""


class Store(Protocol):
    @property
    def people(self) -> People: ...

    @property
    def assets(self) -> Assets: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def tokens(self) -> Tokens: ...

    def on_change(self, listener: Callable[[list[Change]], None]) -> None:
        """`listener` is called on the event loop after every commit that changed jobs."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...
