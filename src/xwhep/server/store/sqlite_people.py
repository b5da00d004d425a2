"""Users, sessions and workers in SQLite. The plain functions also serve the commands that work beside the server."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Sequence

import msgspec

from xwhep.common.errors import Conflict
from xwhep.common.wire import Machine, User
from xwhep.server.store.identity_records import Service
from xwhep.server.store.records import Account, Attempt, NewWorker, SessionRecord, WorkerRecord
from xwhep.server.store.sqlite_database import Database, Tx
from xwhep.server.store.sqlite_leases import hand_back


def add_user(tx: Tx, account: Account) -> None:
    """Raises: Conflict: the login is taken."""
    if tx.one("user_get", login=account.login) is not None:
        raise Conflict(f"there is a user {account.login} already", "list them with: xwhep-server user list")
    tx.run("user_add", login=account.login, role=account.role, password_hash=account.password_hash, now=tx.now)


def list_users(tx: Tx) -> list[User]:
    return [user_of_row(row) for row in tx.all("user_list")]


def user_of_row(row: sqlite3.Row) -> User:
    return User(login=row["login"], role=row["role"], groups=json.loads(row["groups"]), active=bool(row["active"]))


def find_account(tx: Tx, login: str) -> Account | None:
    row = tx.one("user_get", login=login)
    if row is None:
        return None
    return Account(login=row["login"], role=row["role"], password_hash=row["password_hash"], active=bool(row["active"]))


def add_session(tx: Tx, session: tuple[str, str, float]) -> None:
    """`session` is (token hash, login, when it expires)."""
    token_hash, login, expires_at = session
    tx.run("session_expire", now=tx.now)
    session_id = secrets.token_hex(8)
    tx.run("session_add", token_hash=token_hash, login=login, expires_at=expires_at, id=session_id, now=tx.now)


def _enrol(tx: Tx, worker: NewWorker) -> None:
    machine = msgspec.json.encode(worker.machine).decode()
    service = worker.service
    fields = {"visibility": service.visibility, "group": service.group, "owner": service.owner}
    tx.run(
        "worker_add",
        id=worker.id,
        name=worker.name,
        token_hash=worker.token_hash,
        machine=machine,
        now=tx.now,
        **fields,
    )
    tx.run("join_used", id=worker.join_id, now=tx.now)


def _worker(row: sqlite3.Row) -> WorkerRecord:
    return WorkerRecord(
        id=row["id"],
        name=row["name"],
        machine=msgspec.json.decode(row["machine"], type=Machine),
        last_seen_at=row["last_seen_at"],
        left_at=row["left_at"],
        service=Service(visibility=row["visibility"], group=row["group_name"], owner=row["owner"]),
        running=tuple((job_id, owner) for job_id, owner in json.loads(row["running"])),
        failures_in_row=row["failures_in_row"],
        quarantined_until=row["quarantined_until"],
        outvoted=row["outvoted"],
        draining=bool(row["draining"]),
    )


def _seen(tx: Tx, seen: Sequence[tuple[str, float, Machine]]) -> None:
    for worker_id, seen_at, machine in seen:
        tx.run("worker_seen", id=worker_id, seen_at=seen_at, machine=msgspec.json.encode(machine).decode())


def _left(tx: Tx, worker_id: str, handed_back: Sequence[Attempt]) -> list[Attempt]:
    tx.run("worker_left", id=worker_id, now=tx.now)
    return [attempt for attempt in handed_back if hand_back(tx, attempt)]


class SqlitePeople:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add_user(self, account: Account) -> None:
        await self._db.write(lambda tx: add_user(tx, account))

    async def account(self, login: str) -> Account | None:
        return self._db.read(lambda tx: find_account(tx, login))

    async def users(self) -> list[User]:
        return await self._db.scan(list_users)

    async def add_session(self, token_hash: str, login: str, expires_at: float) -> None:
        await self._db.write(lambda tx: add_session(tx, (token_hash, login, expires_at)))

    async def session(self, token_hash: str) -> SessionRecord | None:
        row = self._db.read(lambda tx: tx.one("session_get", token_hash=token_hash, now=tx.now))
        if row is None:
            return None
        groups = frozenset(json.loads(row["groups"]))
        return SessionRecord(login=row["login"], role=row["role"], expires_at=row["expires_at"], groups=groups)

    async def enrol(self, worker: NewWorker) -> None:
        await self._db.write(lambda tx: _enrol(tx, worker))

    async def workers(self) -> list[WorkerRecord]:
        return await self._db.scan(lambda tx: [_worker(row) for row in tx.all("worker_list")])

    async def workers_seen(self, seen: Sequence[tuple[str, float, Machine]]) -> None:
        await self._db.write(lambda tx: _seen(tx, seen))

    async def worker_left(self, worker_id: str, handed_back: Sequence[Attempt]) -> list[Attempt]:
        return await self._db.write(lambda tx: _left(tx, worker_id, handed_back))
