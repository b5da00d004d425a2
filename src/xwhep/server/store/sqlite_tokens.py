"""Tokens in SQLite: listing, revoking, rotating; and whose jobs a worker runs, which its join token decides."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import TokenInfo
from xwhep.server.store.identity_records import DEPLOYMENT, Act, JoinRecord, Revoked, Service, WorkerIdentity
from xwhep.server.store.sqlite_database import Database, Tx
from xwhep.server.store.sqlite_identity import check_group, note

_LISTS = {"session": "token_sessions", "worker": "token_workers", "join": "token_joins"}
_REVOKE = {"session": "session_revoke", "worker": "worker_revoke", "join": "join_revoke"}


def _info(row: sqlite3.Row, kind: str, current: str) -> TokenInfo:
    return TokenInfo(
        id=row["id"],
        kind=kind,
        subject=row["subject"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        current=bool(current) and row["token_hash"] == current,
    )


def _tokens(tx: Tx, login: str, current: str) -> list[TokenInfo]:
    now = {"session": {"now": tx.now}, "worker": {}, "join": {"now": tx.now}}
    return [
        _info(row, kind, current) for kind, query in _LISTS.items() for row in tx.all(query, login=login, **now[kind])
    ]


def _revoke(tx: Tx, token_id: str, login: str, who: str) -> Revoked:
    for kind, query in _REVOKE.items():
        now = {"now": tx.now} if kind == "worker" else {}
        row = tx.one(query, id=token_id, login=login, **now)
        if row is not None:
            note(tx, Act(who=who, act="token revoke", subject=token_id, detail=f"{kind} of {row['subject']}"))
            return Revoked(id=token_id, kind=kind, subject=row["subject"])
    raise NotFound(f"there is no token {token_id}", "list yours with: xw token list")


def _service(tx: Tx, row: sqlite3.Row) -> Service:
    members: frozenset[str] = frozenset()
    if row["visibility"] == "group" and (group := tx.one("group_get", name=row["group_name"])):
        members = frozenset(json.loads(group["members"]))
    return Service(
        visibility=row["visibility"],
        group=row["group_name"],
        owner=row["owner"],
        members=members,
        draining=bool(row["draining"]),
    )


def _worker(tx: Tx, token_hash: str) -> WorkerIdentity | None:
    row = tx.one("worker_by_token", token_hash=token_hash, now=tx.now)
    if row is None:
        return None
    return WorkerIdentity(id=row["id"], name=row["name"], service=_service(tx, row), is_next=bool(row["is_next"]))


def find_worker(tx: Tx, worker_id: str) -> sqlite3.Row:
    """Raises: NotFound."""
    row = tx.one("worker_get", id=worker_id)
    if row is None:
        raise NotFound(f"there is no worker {worker_id}", "list them with: xw worker list")
    return row


def _change_worker(tx: Tx, worker_id: str, service: Service, act: Act) -> None:
    find_worker(tx, worker_id)
    if service.group:
        check_group(tx, service.group)
    fields = {"visibility": service.visibility, "group": service.group, "draining": int(service.draining)}
    tx.run("worker_change", id=worker_id, **fields)
    note(tx, act)


def _rotate(tx: Tx, worker_id: str, act: Act) -> None:
    find_worker(tx, worker_id)
    tx.run("worker_rotate", id=worker_id)
    note(tx, act)


def _unquarantine(tx: Tx, worker_id: str, act: Act) -> None:
    find_worker(tx, worker_id)
    tx.run("worker_unquarantine", id=worker_id)
    note(tx, act)


def _add_join(tx: Tx, record: JoinRecord, act: Act | None) -> None:
    if record.service.group:
        check_group(tx, record.service.group)
    if record.service.owner and tx.one("user_get", login=record.service.owner) is None:
        raise NotFound(f"there is no user {record.service.owner}", "list them with: xw admin user list")
    if record.id == DEPLOYMENT:
        tx.run("join_forget", id=DEPLOYMENT, token_hash=record.token_hash)
    known = tx.one("join_get", token_hash=record.token_hash, now=tx.now)
    if known is not None and known["id"] == record.id:
        return
    if known is not None:
        raise Conflict("that join token exists", "try again")
    service = record.service
    fields = {"visibility": service.visibility, "owner": service.owner, "group": service.group}
    expires_at = record.expires_at
    tx.run("join_add", id=record.id, token_hash=record.token_hash, expires_at=expires_at, now=tx.now, **fields)
    note(tx, act)


def _join(tx: Tx, token_hash: str) -> tuple[str, Service] | None:
    row = tx.one("join_get", token_hash=token_hash, now=tx.now)
    return (row["id"], _service(tx, row)) if row else None


def _used(tx: Tx, sessions: Mapping[str, float]) -> None:
    for token_hash, at in sessions.items():
        tx.run("session_used", token_hash=token_hash, at=at)


class SqliteTokens:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def tokens(self, login: str, current: str = "") -> list[TokenInfo]:
        return await self._db.scan(lambda tx: _tokens(tx, login, current))

    async def revoke(self, token_id: str, login: str, who: str) -> Revoked:
        return await self._db.write(lambda tx: _revoke(tx, token_id, login, who))

    async def worker(self, token_hash: str) -> WorkerIdentity | None:
        return self._db.read(lambda tx: _worker(tx, token_hash))

    async def service(self, worker_id: str) -> Service:
        return self._db.read(lambda tx: _service(tx, find_worker(tx, worker_id)))

    async def change_worker(self, worker_id: str, service: Service, act: Act) -> None:
        await self._db.write(lambda tx: _change_worker(tx, worker_id, service, act))

    async def rotate(self, worker_id: str, act: Act) -> None:
        await self._db.write(lambda tx: _rotate(tx, worker_id, act))

    async def unquarantine(self, worker_id: str, act: Act) -> None:
        await self._db.write(lambda tx: _unquarantine(tx, worker_id, act))

    async def wants_rotation(self, worker_id: str) -> bool:
        row = self._db.read(lambda tx: tx.one("worker_get", id=worker_id))
        return row is not None and bool(row["rotate"])

    async def offer(self, worker_id: str, next_hash: str, old_until: float) -> None:
        params = {"id": worker_id, "next_hash": next_hash, "old_until": old_until}
        await self._db.write(lambda tx: tx.run("worker_next_token", **params))

    async def promote(self, worker_id: str, next_hash: str) -> None:
        await self._db.write(lambda tx: tx.run("worker_promote", id=worker_id, next_hash=next_hash))

    async def add_join(self, record: JoinRecord, act: Act | None) -> None:
        await self._db.write(lambda tx: _add_join(tx, record, act))

    async def join(self, token_hash: str) -> tuple[str, Service] | None:
        return self._db.read(lambda tx: _join(tx, token_hash))

    async def sessions_used(self, used: Mapping[str, float]) -> None:
        await self._db.write(lambda tx: _used(tx, used))
