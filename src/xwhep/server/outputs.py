"""What running jobs wrote so far, for those who follow it. In memory only: the result brings all of it again.

somebody asks for a log ─► the job is watched ─► its worker learns so by the heartbeat ─► it sends pieces ─► kept here
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from xwhep.common.wire import OutputPiece
from xwhep.server.store.records import Attempt

KEPT_BYTES = 1024 * 1024  # of each stream
MAX_WATCHED = 256  # jobs at a time; more would be too much memory
WATCHED_S = 30.0  # after the last question
STREAMS = ("stdout", "stderr")


@dataclass
class Tail:
    """The last KEPT_BYTES of a stream; `start` is the offset of the first."""

    start: int = 0
    data: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def add(self, offset: int, piece: bytes) -> bool:
        """Pieces may come twice or with a gap, never out of order; False for one that brings nothing new."""
        if offset > self.end:
            self.start, self.data = offset, bytearray()
        new = piece[self.end - offset :]
        self.data += new
        over = max(0, len(self.data) - KEPT_BYTES)
        del self.data[:over]
        self.start += over
        return bool(new)

    def since(self, offset: int) -> OutputPiece:
        start = min(max(offset, self.start), self.end)
        return OutputPiece(offset=start, data=bytes(self.data[start - self.start :]))


@dataclass
class _Watched:
    asked_at: float
    attempt: int = 0
    tails: dict[str, Tail] = field(default_factory=lambda: {stream: Tail() for stream in STREAMS})


class OutputBoard:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watched: dict[str, _Watched] = {}

    def watch(self, job_id: str) -> None:
        """Somebody wants to see what the job writes."""
        known = self._watched.pop(job_id, None) or _Watched(asked_at=0.0)
        known.asked_at = self._clock()
        self._watched[job_id] = known  # the last asked for is the last to go
        while len(self._watched) > MAX_WATCHED:
            self._watched.pop(next(iter(self._watched)))

    def is_watched(self, job_id: str) -> bool:
        known = self._watched.get(job_id)
        return known is not None and self._clock() - known.asked_at <= WATCHED_S

    def add(self, attempt: Attempt, stream: str, piece: tuple[int, bytes]) -> bool:
        """`piece` is (offset, data) from the attempt that holds the job; True when a reader may want to know."""
        known = self._watched.get(attempt.job_id)
        if known is None:
            return False
        if known.attempt != attempt.number:  # a new attempt begins anew
            known.attempt, known.tails = attempt.number, {name: Tail() for name in STREAMS}
        return known.tails[stream].add(*piece)

    def since(self, job_id: str, stream: str, place: tuple[int, int]) -> OutputPiece:
        """What is kept from `place` on, (attempt, offset); nothing when the stream is not that far.

        Of another attempt than that one (0 is any) it is all that is kept.
        """
        attempt, offset = place
        known = self._watched.get(job_id)
        if known is None or not known.attempt:
            return OutputPiece(offset=offset, data=b"", attempt=attempt)
        if attempt not in (0, known.attempt):
            offset = 0
        if known.tails[stream].end < offset:
            return OutputPiece(offset=offset, data=b"", attempt=known.attempt)
        return msgspec.structs.replace(known.tails[stream].since(offset), attempt=known.attempt)

    def sweep(self) -> None:
        """Forget what nobody asked for lately."""
        for job_id in [job_id for job_id in self._watched if not self.is_watched(job_id)]:
            del self._watched[job_id]
