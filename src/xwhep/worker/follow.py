"""Sending what running jobs write while somebody follows them, at most once a second."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from xwhep.common.errors import AuthenticationFailed, Conflict, NotAllowed, XwhepError
from xwhep.common.wire import Ack, Output
from xwhep.worker.board import Attempt, Board, Phase
from xwhep.worker.flag import Flag
from xwhep.worker.session import Session

log = logging.getLogger(__name__)

EVERY_S = 1.0
PIECE_BYTES = 256 * 1024
KEPT_BYTES = 1024 * 1024  # of each stream, by the server: what is older need not travel
_STREAMS = ("stdout", "stderr")


class Follower:
    """`run` is the body of its thread. `jobs` is the folder of running jobs."""

    def __init__(self, session: Session, board: Board, jobs: Path) -> None:
        self._session, self._board, self._jobs = session, board, jobs
        self._sent: dict[tuple[str, str], int] = {}  # bytes by attempt and stream

    def run(self, stop: Flag) -> None:
        """Until `stop` is set.

        Raises:
            AuthenticationFailed, NotAllowed: the server does not know this worker any more.
        """
        while not stop.wait(EVERY_S):
            self.send_news()

    def send_news(self) -> None:
        """One round. A server that is away gets the same pieces in the next."""
        watched = [each for each in self._board.unfinished() if each.watched and each.phase is Phase.RUNNING]
        keys = {each.key for each in watched}
        self._sent = {key: sent for key, sent in self._sent.items() if key[0] in keys}
        for attempt in watched:
            try:
                for stream in _STREAMS:
                    self._send(attempt, stream)
            except Conflict:
                attempt.watched = False  # its heartbeat will tell the rest
            except (AuthenticationFailed, NotAllowed):
                raise
            except XwhepError as exc:
                log.debug("%s: its output cannot be sent: %s", attempt, exc)
                return

    def _send(self, attempt: Attempt, stream: str) -> None:
        key, file = (attempt.key, stream), self._jobs / attempt.key / stream
        # What comes while this is sent waits for the next round: else a job that writes all the time is all news.
        size, sent = _size(file), self._sent.get(key, 0)
        news = size - sent if size >= sent else size
        pieces = -(-min(KEPT_BYTES, news) // PIECE_BYTES)
        for _ in range(pieces):
            offset, data = piece(file, self._sent.get(key, 0))
            if not data:
                return
            lease = attempt.lease
            message = Output(job_id=lease.job_id, attempt=lease.attempt, stream=stream, offset=offset, data=data)
            self._session.post("/v1/worker/output", message, Ack)
            self._sent[key] = offset + len(data)


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.lstat().st_size
    return 0


def piece(file: Path, sent: int) -> tuple[int, bytes]:
    """The next piece of a stream after `sent` bytes and where it starts; later when more than is kept was missed."""
    with contextlib.suppress(OSError):  # the job has just ended: its result brings all of it
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            size = os.fstat(descriptor).st_size
            if size < sent:  # the job cut its own output: as a file it starts again
                sent = 0
            offset = max(sent, size - KEPT_BYTES)
            return offset, os.pread(descriptor, PIECE_BYTES, offset)
        finally:
            os.close(descriptor)
    return sent, b""
