"""How often workers come: as often as leases ask for, but never more than so many a second all together."""

from __future__ import annotations

from dataclasses import dataclass

from xwhep.server.fleet import BEATS_PER_LEASE, Fleet


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Leases stretch along with the heartbeats, so that a big fleet is not taken for a lost one."""

    fleet: Fleet

    @property
    def heartbeat_s(self) -> float:
        return self.lease_s / BEATS_PER_LEASE

    @property
    def lease_s(self) -> float:
        return self.fleet.silence_s
