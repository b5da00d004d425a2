"""Deletes what nobody needs any more: old jobs, data that were for them only, uploads that nothing names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xwhep.server.backup_lock import backup_running
from xwhep.server.blobs import BlobFolder
from xwhep.server.catalogue import KindCatalogue
from xwhep.server.logs import log_event
from xwhep.server.outputs import OutputBoard
from xwhep.server.settings import Settings
from xwhep.server.store.protocol import Store

AT_ONCE = 200  # jobs or blobs in one transaction
EVERY_S = 600.0
DAY_S = 86_400.0
HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    settings: Settings
    store: Store
    blobs: BlobFolder
    kinds: KindCatalogue
    outputs: OutputBoard
    clock: Callable[[], float]

    async def tidy(self) -> None:
        """One round: as many transactions as it takes, so that other writes find their way in between."""
        self.outputs.sweep()
        await self.kinds.forget_ended(self.store)
        if self.settings.result_days:
            await self._expire_jobs(self.clock() - self.settings.result_days * DAY_S)
        unused_since = self.clock() - self.settings.unused_blob_hours * HOUR_S
        await self._drop_data(unused_since)
        await self._collect_blobs(unused_since)

    async def _expire_jobs(self, before: float) -> None:
        while ids := await self.store.jobs.delete_old(before, AT_ONCE):
            log_event("old jobs deleted", jobs=len(ids))

    async def _drop_data(self, before: float) -> None:
        while ids := await self.store.assets.drop_idle_data(before, AT_ONCE):
            log_event("data of jobs that are gone deleted", data=len(ids))

    async def _collect_blobs(self, before: float) -> None:
        """The file goes with its last row, in the same turn of the loop: nobody can name it in between.

        Nothing goes while a backup copies files: its copy of the database may still name them.
        """
        while not backup_running(self.settings.state) and (
            hashes := await self.store.assets.drop_unused_blobs(before, AT_ONCE, self.blobs.remove_unless_in_use)
        ):
            log_event("unused blobs deleted", blobs=len(hashes))
