"""The part of the store's interface that is about rights. Every method that changes something takes its line of the
audit log, which is written in the same transaction; None is for what a user does with his own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from xwhep.common.wire import AuditEntry, Group, GroupChange, TokenInfo, User
from xwhep.server.store.identity_records import (
    Act,
    JoinRecord,
    ModeChange,
    Revoked,
    Service,
    UserUpdate,
    WorkerIdentity,
)
from xwhep.server.store.records import Account


class Identity(Protocol):
    async def add_user(self, account: Account, groups: Sequence[str], act: Act) -> User:
        """Raises: Conflict: the login is taken; NotFound: a group."""

    async def change_user(self, login: str, update: UserUpdate, act: Act | None) -> User:
        """A new password, or no longer active: the sessions end. Raises: NotFound; Conflict: no admin would be left."""

    async def groups(self, login: str) -> list[Group]:
        """Those of a login; all when it is empty."""

    async def add_group(self, name: str, members: Sequence[str], act: Act) -> Group:
        """Raises: Conflict: the name is taken; NotFound: a member."""

    async def change_group(self, name: str, change: GroupChange, act: Act) -> Group:
        """Raises: NotFound: the group, a user, or one who leaves and is not in it; then nothing is changed."""

    async def set_mode(self, change: ModeChange, act: Act | None) -> None:
        """Raises: NotFound: the group."""

    async def count_jobs(self) -> dict[str, int]:
        """How many jobs are in each state; states without one may be missing."""

    async def note(self, act: Act) -> None:
        """An act that changed nothing in the store, or by another method."""

    async def audit(self, since: float, limit: int) -> list[AuditEntry]:
        """Newest first."""


class Tokens(Protocol):
    async def tokens(self, login: str, current: str = "") -> list[TokenInfo]:
        """Those of a login, all when it is empty; `current` is the hash of the one that asks."""

    async def revoke(self, token_id: str, login: str, who: str) -> Revoked:
        """Raises: NotFound: no such token, or not of that login ('' for anyone's)."""

    async def worker(self, token_hash: str) -> WorkerIdentity | None: ...

    async def service(self, worker_id: str) -> Service:
        """Raises: NotFound."""

    async def change_worker(self, worker_id: str, service: Service, act: Act) -> None:
        """Raises: NotFound: the worker or the group."""

    async def rotate(self, worker_id: str, act: Act) -> None:
        """Raises: NotFound."""

    async def unquarantine(self, worker_id: str, act: Act) -> None:
        """It gets jobs again as if it had never failed one. Raises: NotFound."""

    async def wants_rotation(self, worker_id: str) -> bool: ...

    async def offer(self, worker_id: str, next_hash: str, old_until: float) -> None:
        """A new token is on its way; the first offer decides when the old one ends."""

    async def promote(self, worker_id: str, next_hash: str) -> None:
        """The offered token was used: it is the worker's only one now."""

    async def add_join(self, record: JoinRecord, act: Act | None) -> None:
        """Raises: NotFound: its owner or group."""

    async def join(self, token_hash: str) -> tuple[str, Service] | None:
        """(id, what it makes); None when unknown or expired."""

    async def sessions_used(self, used: Mapping[str, float]) -> None:
        """When sessions, named by their hashes, were used last."""
