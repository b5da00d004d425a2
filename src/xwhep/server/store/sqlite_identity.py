"""Users, groups, modes and the audit log in SQLite. An act and its line in the audit log are one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import AuditEntry, Group, GroupChange, User
from xwhep.server.store.identity_records import Act, ModeChange, UserUpdate
from xwhep.server.store.records import Account, Change
from xwhep.server.store.sqlite_database import Database, Tx
from xwhep.server.store.sqlite_people import add_user, user_of_row


def note(tx: Tx, act: Act | None) -> None:
    """Write the act down; None is what nobody needs to account for."""
    if act is not None:
        tx.run("audit_add", who=act.who, act=act.act, subject=act.subject, detail=act.detail, now=tx.now)


def _user(tx: Tx, login: str) -> User:
    row = tx.one("user_get", login=login)
    if row is None:
        raise NotFound(f"there is no user {login}", "list them with: xw admin user list")
    return user_of_row(row)


def check_group(tx: Tx, name: str) -> None:
    """Raises: NotFound."""
    if tx.one("group_get", name=name) is None:
        raise _no_group(name)


def _no_group(name: str) -> NotFound:
    return NotFound(f"there is no group {name}", "list them with: xw admin group list")


def _join_groups(tx: Tx, login: str, groups: Sequence[str]) -> None:
    tx.run("member_forget", login=login)
    for name in groups:
        check_group(tx, name)
        tx.run("member_add", name=name, login=login)


def _add_user(tx: Tx, account: Account, groups: Sequence[str], act: Act) -> User:
    add_user(tx, account)
    _join_groups(tx, account.login, groups)
    note(tx, act)
    return _user(tx, account.login)


def _change_user(tx: Tx, login: str, update: UserUpdate, act: Act | None) -> User:
    row = tx.one("user_get", login=login)
    if row is None:
        raise NotFound(f"there is no user {login}", "list them with: xw admin user list")
    active = row["active"] if update.active is None else int(update.active)
    password_hash = update.password_hash or row["password_hash"]
    tx.run("user_change", login=login, role=update.role or row["role"], password_hash=password_hash, active=active)
    if update.groups is not None:
        _join_groups(tx, login, update.groups)
    if update.password_hash or not active:
        tx.run("user_end_sessions", login=login, kept=update.kept_session)
    _check_some_admin(tx)
    note(tx, act)
    return _user(tx, login)


def _check_some_admin(tx: Tx) -> None:
    count = tx.one("user_admins")
    if count is None or not count["count"]:
        raise Conflict("this is the last administrator", "make another one first: xw admin user add")


def _group(row: sqlite3.Row) -> Group:
    return Group(name=row["name"], created_at=row["created_at"], members=json.loads(row["members"]))


def _save_members(tx: Tx, name: str, members: Sequence[str], act: Act) -> Group:
    tx.run("group_empty", name=name)
    for login in members:
        _user(tx, login)
        tx.run("member_add", name=name, login=login)
    note(tx, act)
    row = tx.one("group_get", name=name)
    assert row is not None  # noqa: S101 - the callers made or found it
    return _group(row)


def _add_group(tx: Tx, name: str, members: Sequence[str], act: Act) -> Group:
    if tx.one("group_get", name=name) is not None:
        raise Conflict(f"there is a group {name} already", "list them with: xw admin group list")
    tx.run("group_add", name=name, now=tx.now)
    return _save_members(tx, name, members, act)


def _change_group(tx: Tx, name: str, change: GroupChange, act: Act) -> Group:
    row = tx.one("group_get", name=name)
    if row is None:
        raise _no_group(name)
    if change.members is not None:
        return _save_members(tx, name, change.members, act)
    members = _group(row).members
    for login in change.remove:
        if login not in members:
            raise NotFound(f"{login} is not in the group {name}", f"xw admin group members {name}")
    return _save_members(tx, name, sorted({*members, *change.add} - set(change.remove)), act)


def _set_mode(tx: Tx, change: ModeChange, act: Act | None) -> None:
    if change.group:
        check_group(tx, change.group)
    query = {"app": "app_mode", "datum": "datum_mode", "job": "job_mode"}[change.kind]
    tx.run(query, id=change.id, mode=change.mode, group=change.group)
    if change.kind == "job":
        tx.changes.append(Change(job_id=change.id))
    note(tx, act)


class SqliteIdentity:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def add_user(self, account: Account, groups: Sequence[str], act: Act) -> User:
        return await self._db.write(lambda tx: _add_user(tx, account, groups, act))

    async def change_user(self, login: str, update: UserUpdate, act: Act | None) -> User:
        return await self._db.write(lambda tx: _change_user(tx, login, update, act))

    async def groups(self, login: str) -> list[Group]:
        return await self._db.scan(lambda tx: [_group(row) for row in tx.all("group_list", login=login)])

    async def add_group(self, name: str, members: Sequence[str], act: Act) -> Group:
        return await self._db.write(lambda tx: _add_group(tx, name, members, act))

    async def change_group(self, name: str, change: GroupChange, act: Act) -> Group:
        return await self._db.write(lambda tx: _change_group(tx, name, change, act))

    async def set_mode(self, change: ModeChange, act: Act | None) -> None:
        await self._db.write(lambda tx: _set_mode(tx, change, act))

    async def count_jobs(self) -> dict[str, int]:
        return await self._db.scan(lambda tx: {row["state"]: row["count"] for row in tx.all("job_counts")})

    async def note(self, act: Act) -> None:
        await self._db.write(lambda tx: note(tx, act))

    async def audit(self, since: float, limit: int) -> list[AuditEntry]:
        return await self._db.scan(
            lambda tx: [AuditEntry(**dict(row)) for row in tx.all("audit_list", since=since, limit=limit)]
        )
