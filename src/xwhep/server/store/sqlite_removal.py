"""Removal of apps and data in SQLite: never of what a job that has not ended needs."""

from __future__ import annotations

from collections.abc import Sequence

from xwhep.common.errors import Conflict, NotFound
from xwhep.common.wire import App, Datum
from xwhep.server.store.sqlite_database import Tx
from xwhep.server.store.sqlite_rows import spec_decoder


def remove_app(tx: Tx, app: App) -> None:
    """Raises: NotFound: it is gone already; Conflict: jobs that have not ended need it."""
    if tx.one("app_is_there", id=app.id) is None:
        raise NotFound(f"there is no app {app.name}", "list them with: xw app list")
    found = tx.one("app_open_jobs", id=app.id)
    _check_free(f"app {app.name}", found["count"] if found else 0)
    for row in tx.all("app_blobs", app_id=app.id):
        tx.run("blob_touch", sha256=row["sha256"], now=tx.now)
    tx.run("app_blob_forget", app_id=app.id)
    tx.run("app_remove", id=app.id, now=tx.now)


def remove_datum(tx: Tx, datum: Datum) -> None:
    """Raises: as remove_app."""
    rows = tx.all("datum_open_jobs", sha256=datum.sha256)
    _check_free(f"datum {datum.name}", sum(_names(datum, row["owner"], row["spec"]) for row in rows))
    tx.run("blob_touch", sha256=datum.sha256, now=tx.now)
    if not tx.run("datum_remove", id=datum.id):
        raise NotFound(f"there is no datum {datum.name}", "list yours with: xw data list")


def _names(datum: Datum, owner: str, spec: str) -> bool:
    """Whether a job names that very datum: others may have the same content."""
    job = spec_decoder.decode(spec)
    words = {job.stdin, *job.data, *job.files.values()}
    return datum.id in words or (owner == datum.owner and datum.name in words)


def _check_free(what: str, count: int) -> None:
    if count:
        jobs = "one job that has not ended needs" if count == 1 else f"{count} jobs that have not ended need"
        raise Conflict(f"{jobs} the {what}", "wait for their end, or stop them first: xw job cancel")


def idle_data(tx: Tx, before: float, limit: int) -> list[str]:
    return [row["id"] for row in tx.all("datum_idle", before=before, limit=limit)]


def drop_idle_data(tx: Tx, before: float, ids: Sequence[str]) -> list[str]:
    return [datum_id for datum_id in ids if tx.run("datum_remove_idle", id=datum_id, before=before)]
