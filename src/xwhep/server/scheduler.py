"""Who gets the next job: requests that wait for one, and the wake-ups between them and the jobs that appear.

a job becomes pending ─► one waiting request that fits is woken ─► it asks the store for a lease, and may find
that another was faster; then it waits again. A woken request that leaves without asking passes the wake-up on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from xwhep.server.catalogue import KindCatalogue
from xwhep.server.matching import Candidate
from xwhep.server.store.protocol import Store
from xwhep.server.store.records import Change

SHARERS = 64  # of the waiting requests, who share the pending jobs


@dataclass(eq=False)
class Waiting:
    """One request for work that waits."""

    candidate: Candidate
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    woken_for: str = ""  # the kind

    def wake(self, kind_id: str) -> None:
        self.woken_for = kind_id
        self.woken.set()

    def sleep(self) -> str:
        """Returns the kind that it was woken for."""
        kind_id, self.woken_for = self.woken_for, ""
        self.woken.clear()
        return kind_id


class Dispatcher:
    """The waiting requests, first come first served."""

    def __init__(self, kinds: KindCatalogue) -> None:
        self._kinds = kinds
        self._waiting: dict[Waiting, None] = {}  # ordered
        self._stopping = False

    @contextmanager
    def waiting(self, candidate: Candidate) -> Iterator[Waiting]:
        """Enter before the first look at the store: a job that appears between look and wait wakes this request."""
        waiting = Waiting(candidate)
        self._waiting[waiting] = None
        try:
            yield waiting
        finally:
            del self._waiting[waiting]
            if waiting.woken.is_set() and waiting.woken_for and not self._stopping:
                self.wake(Change(pending_kind=waiting.woken_for))

    def enough_for(self, slots: int) -> int:
        """So many pending jobs, and everyone who waits can have as many as `slots`; more need not be counted."""
        return slots * min(len(self._waiting), SHARERS)

    def share(self, pending: int, slots: int) -> int:
        """How many of the pending jobs one of the waiting requests may take: few jobs are spread over many workers."""
        return min(slots, -(-pending // min(max(1, len(self._waiting)), SHARERS)))

    def wake(self, change: Change) -> None:
        """Jobs of that kind may run now: tell the first that fit, are not avoided and were not told yet."""
        left = change.count
        for waiting in self._waiting:
            if left and self._may_wake(waiting, change):
                waiting.wake(change.pending_kind)
                left -= 1
            if not left:
                return

    def _may_wake(self, waiting: Waiting, change: Change) -> bool:
        return (
            not waiting.woken.is_set()
            and waiting.candidate.id not in change.avoid
            and self._kinds.fits(change.pending_kind, waiting.candidate)
        )

    def pass_on(self, vain: Waiting, kind_id: str) -> None:
        """It was woken for a job that is still there but not for it: tell the next in line, never one before it."""
        after = False
        for waiting in self._waiting:
            if after and self._may_wake(waiting, Change(pending_kind=kind_id)):
                waiting.wake(kind_id)
                return
            after = after or waiting is vain

    def stop(self) -> None:
        """Wake all, so that they answer before the server stops."""
        self._stopping = True
        for waiting in self._waiting:
            waiting.woken.set()

    async def wake_for_pending(self, store: Store) -> None:
        """Wake one request for each kind with a pending job: for jobs whose time came without an event."""
        await self._kinds.close_empty(store)
        if self._waiting:
            for kind_id in self._kinds.open_ids():
                self.wake(Change(pending_kind=kind_id))


class JobWatchers:
    """Requests that wait for a job to change."""

    def __init__(self) -> None:
        self._events: dict[str, list[asyncio.Event]] = {}
        self._of_all: set[asyncio.Event] = set()

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

    @contextmanager
    def watching_all(self) -> Iterator[asyncio.Event]:
        """The same for every job."""
        event = asyncio.Event()
        self._of_all.add(event)
        try:
            yield event
        finally:
            self._of_all.remove(event)

    def changed(self, job_id: str) -> None:
        for event in self._events.get(job_id, ()):
            event.set()
        for event in self._of_all:
            event.set()

    def stop(self) -> None:
        """Wake all, so that they answer before the server stops."""
        for job_id in ["", *self._events]:
            self.changed(job_id)


@dataclass(frozen=True, kw_only=True)
class ChangeListener:
    """Passes on what a commit changed."""

    kinds: KindCatalogue
    dispatcher: Dispatcher
    watchers: JobWatchers

    def __call__(self, changes: list[Change]) -> None:
        for change in changes:
            if change.job_id:
                self.watchers.changed(change.job_id)
            if change.new_kind is not None:
                self.kinds.put(change.new_kind)
            if change.pending_kind:
                self.kinds.open(change.pending_kind)
                self.dispatcher.wake(change)
