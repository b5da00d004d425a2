"""The workers as the server sees them now: who was heard of, when, and what it said of itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xwhep.common.wire import App, Machine, Worker
from xwhep.server.matching import Candidate, misfit
from xwhep.server.store.identity_records import PUBLIC, Service
from xwhep.server.store.records import WorkerRecord

BEATS_PER_LEASE = 3
FORGET_AFTER = 20  # silences


@dataclass(slots=True)
class _Presence:
    name: str
    machine: Machine
    seen_at: float
    service: Service = PUBLIC
    unsaved: bool = True
    parked: int = 0  # requests of it that wait for a job


class Fleet:
    """Kept in memory, so that a heartbeat costs no write; the reaper saves it now and then."""

    def __init__(self, silence_s: float, clock: Callable[[], float], rate: float = math.inf) -> None:
        self._least_silence_s = silence_s
        self._rate = rate
        self._clock = clock
        self._present: dict[str, _Presence] = {}

    def announce(self, worker_id: str, name: str, machine: Machine, service: Service = PUBLIC) -> None:
        presence = self._present.get(worker_id)
        if presence is None:
            self._present[worker_id] = _Presence(name, machine, self._clock(), service)
            return
        presence.service = service
        presence.machine, presence.seen_at, presence.unsaved = machine, self._clock(), True

    def seen(self, worker_id: str) -> None:
        """A worker that was not announced since the server started stays as stored until it asks for work."""
        if presence := self._present.get(worker_id):
            presence.seen_at, presence.unsaved = self._clock(), True

    @contextmanager
    def parked(self, worker_id: str) -> Iterator[None]:
        """Around a request that may wait long; the worker was announced before."""
        presence = self._present[worker_id]
        presence.parked += 1
        try:
            yield
        finally:
            presence.parked -= 1
            presence.seen_at, presence.unsaved = self._clock(), True

    def forget(self, worker_id: str) -> None:
        """It left."""
        self._present.pop(worker_id, None)

    def live(self) -> list[Candidate]:
        """Every worker that is there."""
        return [
            Candidate(id=worker_id, name=at.name, machine=at.machine, group=at.service.group, serves=at.service.serves)
            for worker_id, at in self._present.items()
            if self._lives(at)
        ]

    def names_running(self, app: App, sees: Callable[[Service], bool]) -> list[str]:
        """Of the workers that are there, that can run the app, and whose service says that the reader may know."""
        present = [at for at in self._present.values() if self._lives(at) and sees(at.service)]
        return sorted({at.name for at in present if not misfit(app, at.machine)})

    def hears(self, worker_id: str) -> bool:
        """Whether the worker lives. That its request for work is open says little: a cut line looks the same."""
        presence = self._present.get(worker_id)
        return presence is not None and self._lives(presence)

    def has_free_slot(self, worker_id: str) -> bool:
        """Whether it waits for a job right now."""
        presence = self._present.get(worker_id)
        return presence is not None and presence.parked > 0

    @property
    def silence_s(self) -> float:
        """How long a worker may say nothing: longer when there are so many that all together would come too often."""
        return max(self._least_silence_s, BEATS_PER_LEASE * len(self._present) / self._rate)

    def _lives(self, presence: _Presence) -> bool:
        return self._clock() - presence.seen_at <= self.silence_s

    def take_unsaved(self) -> list[tuple[str, float, Machine]]:
        """What the store does not know yet, as People.workers_seen takes it; workers long gone are dropped here."""
        unsaved = [(worker_id, at.seen_at, at.machine) for worker_id, at in self._present.items() if at.unsaved]
        for presence in self._present.values():
            presence.unsaved = False
        kept_s = FORGET_AFTER * self.silence_s
        self._present = {
            worker_id: at
            for worker_id, at in self._present.items()
            if at.parked or self._clock() - at.seen_at <= kept_s
        }
        return unsaved

    def view(self, record: WorkerRecord, shown_jobs: Iterable[str]) -> Worker:
        """The worker for people; `shown_jobs` are those of its jobs that the reader may see."""
        presence = self._present.get(record.id)
        seen_at = max(record.last_seen_at, presence.seen_at if presence else 0.0)
        return Worker(
            id=record.id,
            name=record.name,
            machine=presence.machine if presence else record.machine,
            state=self._state(record, presence, seen_at),
            last_seen_at=seen_at,
            running=list(shown_jobs),
            visibility=record.service.visibility,
            group=record.service.group,
            owner=record.service.owner,
            failures_in_row=record.failures_in_row,
            quarantined_until=record.quarantined_until if record.quarantined_until > self._clock() else 0.0,
            outvoted=record.outvoted,
            draining=record.draining,
        )

    def _state(self, record: WorkerRecord, presence: _Presence | None, seen_at: float) -> str:
        if record.left_at and presence is None:
            return "left"
        lives = self._lives(presence) if presence else self._clock() - seen_at <= self.silence_s
        if not lives:
            return "lost"
        return "busy" if record.running else "idle"
