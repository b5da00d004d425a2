"""The rules for a job that was lost, made from the settings and from who else is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xwhep.server.catalogue import KindCatalogue
from xwhep.server.fleet import Fleet
from xwhep.server.pace import Pace
from xwhep.server.settings import Settings
from xwhep.server.store.records import LossRule


@dataclass(frozen=True, kw_only=True)
class Retries:
    settings: Settings
    fleet: Fleet
    kinds: KindCatalogue
    pace: Pace
    clock: Callable[[], float]

    def rule(self, kind_id: str, worker_id: str) -> LossRule:
        """For a job that `worker_id` lost: it comes last for the time of a lease, when there is another that fits."""
        others = any(other.id != worker_id and self.kinds.fits(kind_id, other) for other in self.fleet.live())
        return self._rule(self.clock() + self.pace.lease_s if others else 0.0)

    def plain_rule(self) -> LossRule:
        """For what is no worker's loss."""
        return self._rule(0.0)

    def _rule(self, avoid_until: float) -> LossRule:
        return LossRule(
            limit=self.settings.lost_limit,
            avoid_until=avoid_until,
            back_off_s=self.settings.back_off_seconds,
            quarantine_after=self.settings.quarantine_after,
            quarantine_s=self.settings.quarantine_seconds,
        )
