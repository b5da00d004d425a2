"""What may be matched, in memory: every app, and the kinds of the jobs that have not ended."""

from __future__ import annotations

from xwhep.common.wire import App
from xwhep.server.matching import Candidate, Shortfall, fits, shortfalls
from xwhep.server.store.protocol import Store
from xwhep.server.store.records import Kind


class AppCatalogue:
    """Every app, in memory: matching looks at them for each request."""

    def __init__(self) -> None:
        self._by_id: dict[str, App] = {}

    async def load(self, store: Store) -> None:
        for app in await store.assets.apps():
            self.put(app)

    def put(self, app: App) -> None:
        self._by_id[app.id] = app

    def get(self, app_id: str) -> App:
        return self._by_id[app_id]


class KindCatalogue:
    """Kinds of jobs. Those of which a job may be pending are open; requests for work look only at these."""

    def __init__(self, apps: AppCatalogue) -> None:
        self._apps = apps
        self._kinds: dict[str, Kind] = {}
        self._open: dict[str, None] = {}  # ordered

    async def load(self, store: Store) -> None:
        for kind in await store.jobs.kinds():
            self._kinds[kind.id] = kind
            self._open[kind.id] = None

    def put(self, kind: Kind) -> None:
        self._kinds.setdefault(kind.id, kind)

    def open(self, kind_id: str) -> None:
        """A job of that kind may run now."""
        if kind_id in self._kinds:
            self._open[kind_id] = None

    def open_ids(self) -> list[str]:
        return list(self._open)

    def fits(self, kind_id: str, candidate: Candidate) -> bool:
        kind = self._kinds.get(kind_id)
        return kind is not None and fits(kind, self._apps.get(kind.app_id), candidate)

    def shortfalls(self, kind: Kind, candidate: Candidate) -> list[Shortfall]:
        """What keeps a worker from jobs of that kind."""
        return list(shortfalls(kind, self._apps.get(kind.app_id), candidate))

    def fitting(self, candidate: Candidate) -> tuple[str, ...]:
        """Ids of the open kinds whose jobs the worker can run."""
        return tuple(kind_id for kind_id in self._open if self.fits(kind_id, candidate))

    async def close_empty(self, store: Store) -> None:
        """Forget to look at the kinds without a pending job; a change opens them again."""
        for kind_id in self.open_ids():
            if not await store.jobs.kind_waits(kind_id):
                self._open.pop(kind_id, None)

    async def forget_ended(self, store: Store) -> None:
        """Drop the kinds of which every job has ended."""
        closed = self._kinds.keys() - self._open.keys()
        alive = {kind.id for kind in await store.jobs.kinds()}
        for kind_id in closed - alive - self._open.keys():
            self._kinds.pop(kind_id, None)
