"""Finds leases that ran out and brings their jobs back; saves who was heard of; wakes for jobs whose time came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from xwhep.common.errors import XwhepError
from xwhep.common.wire import FINAL_STATES
from xwhep.server.fleet import Fleet
from xwhep.server.logs import log_event, log_problem
from xwhep.server.pace import Pace
from xwhep.server.retries import Retries
from xwhep.server.scheduler import Dispatcher
from xwhep.server.settings import Settings
from xwhep.server.store.protocol import Store
from xwhep.server.store.records import Expired
from xwhep.server.upkeep import EVERY_S as TIDY_EVERY_S
from xwhep.server.upkeep import Upkeep

MAX_TICK_S = 1.0
SAVE_EVERY_S = 5.0
EXPIRED_AT_ONCE = 500


@dataclass(kw_only=True)
class Reaper:
    settings: Settings
    store: Store
    fleet: Fleet
    pace: Pace
    retries: Retries
    dispatcher: Dispatcher
    upkeep: Upkeep
    clock: Callable[[], float]
    _last_tick: float = 0.0
    _last_save: float = 0.0
    _last_tidy: float = 0.0

    @property
    def tick_s(self) -> float:
        return min(MAX_TICK_S, self.settings.lease_seconds / 10)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self.tick_s)
            try:
                await self.tick()
            except XwhepError as error:  # a full disk: what can be read still is, and the next tick tries again
                log_problem("looking after leases failed", error=error)

    async def tick(self) -> None:
        """One look at everything."""
        now, last = self.clock(), self._last_tick
        self._last_tick = now
        if last and now - last > self.tick_s + self.settings.lease_seconds / 2:
            await self._excuse(now - last)
        await self.reap()
        await self._call_time()
        await self.dispatcher.wake_for_pending(self.store)
        if now - self._last_save > SAVE_EVERY_S:
            await self.save_fleet()
            self._last_save = now
        if now - self._last_tidy > TIDY_EVERY_S:
            await self.upkeep.tidy()
            self._last_tidy = now

    async def _excuse(self, away_s: float) -> None:
        """A suspended machine or a clock that was set: no worker could renew, so none is lost yet."""
        log_problem("the clock jumped, leases extended", seconds=round(away_s, 1))
        await self.store.jobs.extend_leases(self.clock() + self.pace.lease_s)

    async def reap(self) -> None:
        """Bring back every job whose lease ran out."""
        for expired in await self.store.jobs.expired(EXPIRED_AT_ONCE):
            await self._lose(expired)

    async def _lose(self, expired: Expired) -> None:
        job = await self.store.jobs.lose(expired, self.retries.rule(expired.kind, expired.attempt.worker_id))
        if job is None:
            return
        event = "job failed" if job.state in FINAL_STATES else "job lost, runs again"
        log_problem(event, job=job.id, attempt=job.attempt, worker=job.worker, reason=job.reason)

    async def _call_time(self) -> None:
        """End back-offs, and give up what is past its deadline or wall clock."""
        for job in await self.store.jobs.time_passes(self.retries.plain_rule()):
            if job.state in FINAL_STATES:
                log_problem("job failed", job=job.id, attempt=job.attempt, worker=job.worker, reason=job.reason)
            else:
                log_event("job may run again", job=job.id, attempt=job.attempt)

    async def save_fleet(self) -> None:
        if unsaved := self.fleet.take_unsaved():
            await self.store.people.workers_seen(unsaved)


async def welcome_back(settings: Settings, store: Store, now: float) -> None:
    """At start: the jobs that ran when the server stopped keep running; their workers get time to come back."""
    count = await store.jobs.extend_leases(now + max(settings.restart_grace_seconds, settings.lease_seconds))
    if count:
        log_event("jobs keep running", jobs=count, grace_s=settings.restart_grace_seconds)
