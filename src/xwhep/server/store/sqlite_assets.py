"""Apps, data and rights to blobs in SQLite."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Collection

import msgspec

from xwhep.common.errors import Conflict
from xwhep.common.wire import App, AppSpec, Binary, Datum, DatumSpec
from xwhep.server.store.sqlite_database import Database, Tx
from xwhep.server.store.sqlite_removal import drop_idle_data, idle_data, remove_app, remove_datum


def _app(row: sqlite3.Row) -> App:
    return App(
        id=row["id"],
        name=row["name"],
        owner=row["owner"],
        shared=row["shared"],
        binaries=msgspec.json.decode(row["binaries"], type=list[Binary]),
        created_at=row["created_at"],
        mode=row["mode"],
        group=row["group_name"],
    )


def _merged(old: list[Binary], new: list[Binary]) -> list[Binary]:
    by_machine = {(binary.os, binary.arch): binary for binary in [*old, *new]}
    return [by_machine[machine] for machine in sorted(by_machine)]


def _save_app(tx: Tx, owner: str, spec: AppSpec) -> App:
    row = tx.one("app_by_name", name=spec.name)
    app_id = row["id"] if row else secrets.token_hex(8)
    binaries = [] if spec.shared else _merged(_app(row).binaries if row else [], spec.binaries)
    fields = {"id": app_id, "shared": spec.shared, "binaries": msgspec.json.encode(binaries).decode()}
    if row:
        tx.run("app_change", **fields)
    else:
        tx.run("app_add", name=spec.name, owner=owner, now=tx.now, **fields)
    tx.run("app_blob_forget", app_id=app_id)
    for binary in binaries:
        tx.run("app_blob_note", sha256=binary.sha256, app_id=app_id)
    saved = tx.one("app_by_name", name=spec.name)
    assert saved is not None  # noqa: S101 - written above, in this transaction
    return _app(saved)


def _find_app(tx: Tx, name: str) -> App | None:
    row = tx.one("app_by_name", name=name)
    return _app(row) if row else None


def _datum(row: sqlite3.Row) -> Datum:
    return Datum(**{**dict(row), "for_jobs": bool(row["for_jobs"])})


def _add_datum(tx: Tx, owner: str, spec: DatumSpec) -> Datum:
    row = tx.one("datum_by_name", owner=owner, name=spec.name)
    if row is not None:
        if row["sha256"] != spec.sha256:
            raise Conflict(f"you have a datum {spec.name} with other content", "choose another name")
        tx.run("datum_again", id=row["id"], for_jobs=spec.for_jobs, now=tx.now)
    else:
        fields = {"name": spec.name, "sha256": spec.sha256, "size": spec.size, "for_jobs": spec.for_jobs}
        tx.run("datum_add", id=secrets.token_hex(8), owner=owner, now=tx.now, **fields)
    made = tx.one("datum_by_name", owner=owner, name=spec.name)
    assert made is not None  # noqa: S101 - written above, in this transaction
    return _datum(made)


def _find_datum(tx: Tx, owner: str, name_or_id: str) -> Datum | None:
    row = tx.one("datum_by_name", owner=owner, name=name_or_id) or tx.one("datum_by_id", id=name_or_id)
    return _datum(row) if row else None


def _unused(tx: Tx, before: float, limit: int) -> list[str]:
    rows = [*tx.all("blob_unused", before=before, limit=limit), *tx.all("blob_small_unused", limit=limit)]
    return list(dict.fromkeys(row["sha256"] for row in rows))


def _put_small(tx: Tx, sha256: str, content: bytes, holder: str) -> None:
    tx.run("blob_small_put", sha256=sha256, content=content)
    tx.run("blob_hold", sha256=sha256, holder=holder, now=tx.now)


def _drop(tx: Tx, before: float, found: list[str], remove: Callable[[str], bool]) -> list[str]:
    dropped = []
    for sha256 in found:
        if tx.one("blob_still_unused", sha256=sha256, before=before) and remove(sha256):
            tx.run("blob_drop", sha256=sha256)
            tx.run("blob_small_drop", sha256=sha256)
            dropped.append(sha256)
    return dropped


class SqliteAssets:
    def __init__(self, database: Database) -> None:
        self._db = database

    async def save_app(self, owner: str, spec: AppSpec) -> App:
        return await self._db.write(lambda tx: _save_app(tx, owner, spec))

    async def app(self, name: str) -> App | None:
        return self._db.read(lambda tx: _find_app(tx, name))

    async def apps(self) -> list[App]:
        return await self._db.scan(lambda tx: [_app(row) for row in tx.all("app_list")])

    async def add_datum(self, owner: str, spec: DatumSpec) -> Datum:
        return await self._db.write(lambda tx: _add_datum(tx, owner, spec))

    async def datum(self, owner: str, name_or_id: str) -> Datum | None:
        return self._db.read(lambda tx: _find_datum(tx, owner, name_or_id))

    async def data(self, owner: str, groups: Collection[str] = (), *, for_jobs: bool = True) -> list[Datum]:
        params = {"owner": owner, "groups": json.dumps(list(groups)), "for_jobs": for_jobs}
        return await self._db.scan(lambda tx: [_datum(row) for row in tx.all("datum_list", **params)])

    async def app_of_job(self, job_id: str) -> App | None:
        row = self._db.read(lambda tx: tx.one("app_of_job", job_id=job_id))
        return _app(row) if row else None

    async def remove_app(self, app: App) -> None:
        await self._db.write_long(lambda tx: remove_app(tx, app))

    async def remove_datum(self, datum: Datum) -> None:
        await self._db.write_long(lambda tx: remove_datum(tx, datum))

    async def drop_idle_data(self, before: float, limit: int) -> list[str]:
        found = await self._db.scan(lambda tx: idle_data(tx, before, limit))
        return await self._db.write(lambda tx: drop_idle_data(tx, before, found)) if found else []

    async def hold_blob(self, sha256: str, holder: str) -> None:
        await self._db.write(lambda tx: tx.run("blob_hold", sha256=sha256, holder=holder, now=tx.now))

    async def put_small(self, sha256: str, content: bytes, holder: str) -> None:
        await self._db.write(lambda tx: _put_small(tx, sha256, content, holder))

    async def small(self, sha256: str) -> bytes | None:
        row = self._db.read(lambda tx: tx.one("blob_small_get", sha256=sha256))
        return bytes(row["content"]) if row else None

    async def small_size(self, sha256: str) -> int | None:
        row = self._db.read(lambda tx: tx.one("blob_small_size", sha256=sha256))
        return int(row["size"]) if row else None

    async def drop_unused_blobs(self, before: float, limit: int, remove: Callable[[str], bool]) -> list[str]:
        # The long search is done beside the other requests; what it finds is looked at again in the transaction.
        found = await self._db.scan(lambda tx: _unused(tx, before, limit))
        return await self._db.write(lambda tx: _drop(tx, before, found, remove)) if found else []

    async def holds_blob(self, sha256: str, holder: str) -> bool:
        return self._db.read(lambda tx: tx.one("blob_held", sha256=sha256, holder=holder)) is not None

    async def user_names_blob(self, sha256: str, login: str, groups: Collection[str] = ()) -> bool:
        params = {"sha256": sha256, "login": login, "groups": json.dumps(list(groups))}
        row = self._db.read(lambda tx: tx.one("blob_of_user", **params))
        return row is not None and bool(row["allowed"])

    async def worker_needs_blob(self, sha256: str, worker_id: str) -> bool:
        row = self._db.read(lambda tx: tx.one("blob_of_worker", sha256=sha256, worker_id=worker_id))
        return row is not None and bool(row["allowed"])
