"""What the routes share: one object, made at startup, passed explicitly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xwhep.server.auth import Authenticator, Door
from xwhep.server.blobs import BlobFolder
from xwhep.server.catalogue import AppCatalogue, KindCatalogue
from xwhep.server.fleet import Fleet
from xwhep.server.identity import token_hash
from xwhep.server.outputs import OutputBoard
from xwhep.server.pace import Pace
from xwhep.server.reaper import Reaper, welcome_back
from xwhep.server.retries import Retries
from xwhep.server.scheduler import ChangeListener, Dispatcher, JobWatchers
from xwhep.server.settings import Settings
from xwhep.server.store.identity_records import DEPLOYMENT, PUBLIC, JoinRecord
from xwhep.server.store.protocol import Store
from xwhep.server.upkeep import Upkeep


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What the state folder holds besides the database. `repr` shows none of it."""

    ca_pem: str
    join_token: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Grid:
    settings: Settings
    secrets: Secrets
    store: Store
    blobs: BlobFolder
    auth: Authenticator
    door: Door
    fleet: Fleet
    catalogue: AppCatalogue
    kinds: KindCatalogue
    pace: Pace
    retries: Retries
    dispatcher: Dispatcher
    watchers: JobWatchers
    outputs: OutputBoard
    clock: Callable[[], float]
    stopping: asyncio.Event

    async def open(self) -> None:
        """Before the first request."""
        self.blobs.prepare()
        await self.store.open()
        self.store.on_change(ChangeListener(kinds=self.kinds, dispatcher=self.dispatcher, watchers=self.watchers))
        await self.catalogue.load(self.store)
        await self.store.tokens.add_join(
            JoinRecord(id=DEPLOYMENT, token_hash=token_hash(self.secrets.join_token), service=PUBLIC), None
        )
        await self.kinds.load(self.store)
        await welcome_back(self.settings, self.store, self.clock())

    def release_waiting(self) -> None:
        """Let every long-poll answer now."""
        self.stopping.set()
        self.dispatcher.stop()
        self.watchers.stop()

    async def close(self) -> None:
        """After the last request."""
        await self.reaper().save_fleet()
        await self.auth.save_used()
        await self.store.close()

    def reaper(self) -> Reaper:
        return Reaper(
            settings=self.settings,
            store=self.store,
            fleet=self.fleet,
            pace=self.pace,
            retries=self.retries,
            dispatcher=self.dispatcher,
            upkeep=self.upkeep(),
            clock=self.clock,
        )

    def upkeep(self) -> Upkeep:
        return Upkeep(
            settings=self.settings,
            store=self.store,
            blobs=self.blobs,
            kinds=self.kinds,
            outputs=self.outputs,
            clock=self.clock,
        )


def make_grid(settings: Settings, secrets: Secrets, store: Store, clock: Callable[[], float] = time.time) -> Grid:
    """Everything of one server; nothing runs before `open`."""
    catalogue = AppCatalogue()
    kinds, fleet = KindCatalogue(catalogue), Fleet(settings.lease_seconds, clock, settings.heartbeat_rate)
    pace = Pace(fleet=fleet)
    return Grid(
        settings=settings,
        secrets=secrets,
        store=store,
        blobs=BlobFolder(Path(settings.state), settings.disk_reserve_bytes),
        auth=Authenticator(store, clock),
        door=Door(store, settings.session_hours * 3600, clock),
        fleet=fleet,
        catalogue=catalogue,
        kinds=kinds,
        pace=pace,
        retries=Retries(settings=settings, fleet=fleet, kinds=kinds, pace=pace, clock=clock),
        dispatcher=Dispatcher(kinds),
        watchers=JobWatchers(),
        outputs=OutputBoard(clock),
        clock=clock,
        stopping=asyncio.Event(),
    )
