"""Who gets the next job: requests that wait for one, and the wake-ups between them and the jobs that appear.

a job becomes pending ─► one waiting request that fits is woken ─► it asks the store for a lease, and may find
that another was faster; then it waits again. A woken request that leaves without asking passes the wake-up on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from xwhep.common.wire import App, Machine
from xwhep.server.matching import misfit
from xwhep.server.store.protocol import Store
from xwhep.server.store.records import Change


class AppCatalogue:
    """Every app, in memory: matching looks at all of them for each request."""

    def __init__(self) -> None:
        self._by_id: dict[str, App] = {}
        self.version = 0

    async def load(self, store: Store) -> None:
        for app in await store.assets.apps():
            self.put(app)

    def put(self, app: App) -> None:
        self._by_id[app.id] = app
        self.version += 1

    def get(self, app_id: str) -> App:
        return self._by_id[app_id]

    def ids(self) -> list[str]:
        return list(self._by_id)

    def fitting(self, machine: Machine) -> tuple[str, ...]:
        """Ids of the apps that `machine` can run."""
        return tuple(app_id for app_id, app in self._by_id.items() if not misfit(app, machine))


@dataclass(eq=False)
class Waiting:
    """One request for work that waits."""

    worker_id: str
    machine: Machine
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    _fits: tuple[str, ...] = ()
    _fits_version: int = -1

    def fitting(self, catalogue: AppCatalogue) -> tuple[str, ...]:
        if self._fits_version != catalogue.version:
            self._fits, self._fits_version = catalogue.fitting(self.machine), catalogue.version
        return self._fits


class Dispatcher:
    """The waiting requests, first come first served."""

    def __init__(self, catalogue: AppCatalogue) -> None:
        self._catalogue = catalogue
        self._waiting: dict[Waiting, None] = {}  # ordered
        self._stopping = False

    @contextmanager
    def waiting(self, worker_id: str, machine: Machine) -> Iterator[Waiting]:
        """Enter before the first look at the store: a job that appears between look and wait wakes this request."""
        waiting = Waiting(worker_id, machine)
        self._waiting[waiting] = None
        try:
            yield waiting
        finally:
            del self._waiting[waiting]
            if waiting.woken.is_set() and not self._stopping:
                self._pass_on(waiting)

    def wake(self, app_id: str, avoid_worker: str = "") -> None:
        """A job of that app may run now: tell the first that can run it, is not avoided and was not told yet."""
        for waiting in self._waiting:
            if waiting.woken.is_set() or waiting.worker_id == avoid_worker:
                continue
            if app_id in waiting.fitting(self._catalogue):
                waiting.woken.set()
                return

    def _pass_on(self, leaver: Waiting) -> None:
        # It may have been woken for any app that it fits; whoever comes in vain waits again.
        for app_id in leaver.fitting(self._catalogue):
            self.wake(app_id)

    def stop(self) -> None:
        """Wake all, so that they answer before the server stops."""
        self._stopping = True
        for waiting in self._waiting:
            waiting.woken.set()

    async def wake_for_pending(self, store: Store) -> None:
        """Wake one request for each app with a pending job: for jobs whose time came without an event."""
        if not self._waiting:
            return
        for app_id in self._catalogue.ids():
            if await store.jobs.app_waits(app_id):
                self.wake(app_id)


class JobWatchers:
    """Requests that wait for a job to change."""

    def __init__(self) -> None:
        self._events: dict[str, list[asyncio.Event]] = {}

    @contextmanager
    def watching(self, job_id: str) -> Iterator[asyncio.Event]:
        """Enter before reading the job, or a change in between is missed."""
        event = asyncio.Event()
        events = self._events.setdefault(job_id, [])
        events.append(event)
        try:
            yield event
        finally:
            events.remove(event)
            if not events:
                self._events.pop(job_id, None)

    def changed(self, job_id: str) -> None:
        for event in self._events.get(job_id, ()):
            event.set()

    def stop(self) -> None:
        """Wake all, so that they answer before the server stops."""
        for job_id in list(self._events):
            self.changed(job_id)


def connect_changes(changes: list[Change], dispatcher: Dispatcher, watchers: JobWatchers) -> None:
    """Pass on what a commit changed."""
    for change in changes:
        watchers.changed(change.job_id)
        if change.pending_app_id:
            dispatcher.wake(change.pending_app_id, change.avoid_worker)
