"""What a job writes, as it comes: pieces by long poll, from a worker that sends them at most once a second."""

from __future__ import annotations

import time
from typing import BinaryIO, NamedTuple

from xwhep.client import waiting
from xwhep.client.connection import Server, in_path
from xwhep.common.wire import FINAL_STATES, Job, JobState, OutputPiece

FIRST_PIECE_S = 10.0  # a worker learns by its heartbeat that somebody reads, and then sends what there is
NEXT_PIECE_S = 1.5


class Place(NamedTuple):
    """How far a stream was read: an attempt, and an offset in what it wrote."""

    attempt: int = 0
    offset: int = 0


class Source(NamedTuple):
    """What is read: a stream of a job, or of one replica of it (0: of the job)."""

    job: Job
    stream: str
    replica: int = 0

    @property
    def path(self) -> str:
        chosen = f"&replica={self.replica}" if self.replica else ""
        return f"/v1/jobs/{in_path(self.job.id)}/logs?stream={self.stream}{chosen}"

    @property
    def again(self) -> str:
        """What to type to follow it once more."""
        chosen = f"--replica {self.replica} " if self.replica else ""
        return f"xw job logs -f {chosen}{self.job.id}"


class Log:
    """A source, written to `sink` piece by piece."""

    def __init__(self, server: Server, source: Source, sink: BinaryIO) -> None:
        self._server, self._source, self._job, self._sink = server, source, source.job, sink
        self._place = Place()

    def follow(self) -> None:
        """Until the job has ended and all of it is written. Ctrl-C ends it; the job goes on.

        Raises:
            ConnectionFailed: the server did not answer for 10 minutes.
            NotFound: the job was removed meanwhile.
        """
        final = False
        while not final:
            asked_at = time.monotonic()
            piece = self._next(waiting.POLL_S)
            if not piece.data and not piece.final:
                waiting.slow_down(asked_at)
            final = self._write(piece)

    def so_far(self) -> None:
        """What there is now: all of an ended job, of a running one what its worker sends when it is asked."""
        if self._job.state not in (*FINAL_STATES, JobState.RUNNING):
            waiting.note(f"job {self._job.id} is {self._job.state}: nothing of it runs now")
            return
        wait_s, ends = FIRST_PIECE_S, time.monotonic() + FIRST_PIECE_S
        while True:
            piece = self._next(wait_s)
            final = self._write(piece)
            # A job that writes all the time is never read to its end: that is for `follow`.
            late = self._job.state not in FINAL_STATES and time.monotonic() >= ends
            if final or late or not piece.data:
                return
            wait_s = NEXT_PIECE_S

    def _next(self, wait_s: float) -> OutputPiece:
        place = self._place
        path = f"{self._source.path}&offset={place.offset}&attempt={place.attempt}"
        errand = waiting.Errand(f"job {self._job.id} ran", self._source.again, longest_s=wait_s)
        return waiting.patiently(self._server, path, OutputPiece, errand)

    def _write(self, piece: OutputPiece) -> bool:
        """True when nothing comes after it."""
        attempt, offset = self._place
        if attempt and piece.attempt not in (0, attempt):
            waiting.note(f"attempt {piece.attempt} of job {self._job.id} begins; what it writes follows")
            offset = 0
        if piece.data and piece.offset > offset:
            waiting.note(f"{piece.offset - offset} bytes are left out: the server keeps the last MiB of a running job")
        self._sink.write(piece.data)
        self._sink.flush()
        self._place = Place(piece.attempt or attempt, piece.offset + len(piece.data) if piece.data else offset)
        return piece.final
