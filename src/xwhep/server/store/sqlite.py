"""The embedded store: one SQLite file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from xwhep.server.store.records import Change
from xwhep.server.store.sqlite_assets import SqliteAssets
from xwhep.server.store.sqlite_database import Database
from xwhep.server.store.sqlite_identity import SqliteIdentity
from xwhep.server.store.sqlite_jobs import SqliteJobs
from xwhep.server.store.sqlite_people import SqlitePeople
from xwhep.server.store.sqlite_tokens import SqliteTokens


class SqliteStore:
    """Implements protocol.Store. `synchronous` is weaker than FULL only in tests of behaviour."""

    def __init__(self, path: Path, *, synchronous: str = "FULL", clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, synchronous=synchronous, clock=clock)
        self.people = SqlitePeople(self._database)
        self.assets = SqliteAssets(self._database)
        self.jobs = SqliteJobs(self._database)
        self.identity = SqliteIdentity(self._database)
        self.tokens = SqliteTokens(self._database)

    def on_change(self, listener: Callable[[list[Change]], None]) -> None:
        self._database.on_change(listener)

    async def open(self) -> None:
        self._database.open()

    async def close(self) -> None:
        await self._database.close()
