"""Bringing stored results to the server, one after another, until it says that it has them."""

from __future__ import annotations

import logging
import queue
from pathlib import Path

from xwhep.common.errors import AuthenticationFailed, Conflict, NotAllowed, NotFound, XwhepError
from xwhep.common.wire import Ack, ResultFile, Running
from xwhep.worker.board import Board
from xwhep.worker.flag import Flag
from xwhep.worker.retry import PASSING, Stopped, patiently
from xwhep.worker.session import Session
from xwhep.worker.spool import Parcel, Spool

log = logging.getLogger(__name__)

_UPLOADS_PER_RESULT = 3  # how often the server may say that it misses a blob it was given


class Delivery:
    """Owns the way from the spool to the server. `run` is the body of its thread."""

    def __init__(self, session: Session, spool: Spool, board: Board, stop: Flag) -> None:
        self._session, self._spool, self._board, self._stop = session, spool, board, stop
        self._queue: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()

    def waiting(self) -> int:
        return self._queue.qsize()

    def add(self, parcel: Parcel, app: str = "") -> None:
        self._board.delivering(Running(job_id=parcel.message.job_id, attempt=parcel.message.attempt), app)
        self._queue.put(parcel)

    def finish(self) -> None:
        """No more will come: `run` ends when all is delivered."""
        self._queue.put(None)

    def run(self) -> None:
        """Deliver until `finish`, or until `stop` is set (what is left stays stored).

        Raises:
            AuthenticationFailed: this worker is no longer known to the server.
        """
        while (parcel := self._queue.get()) is not None and not self._stop.is_set():
            try:
                self.deliver(parcel)
            except Stopped:
                return

    def deliver(self, parcel: Parcel) -> None:
        """One result; afterwards it is no longer stored here.

        Raises:
            Stopped: `stop` was set before the server had it; it stays stored.
            AuthenticationFailed, NotAllowed: the server does not take anything from this worker.
        """
        try:
            patiently(lambda: self._send(parcel), self._stop, f"{parcel}: delivering its result", PASSING)
        except Conflict as exc:
            log.warning("%s: dropped, the server does not want it any more: %s", parcel, exc)
        except (AuthenticationFailed, NotAllowed):
            raise
        except (XwhepError, OSError) as exc:
            log.error("%s: the result cannot be delivered and is set aside: %s", parcel, exc)
            self._spool.reject(parcel.folder)
            self._board.delivered(parcel.message.job_id, parcel.message.attempt)
            return
        else:
            log.info("%s: delivered", parcel)
        self._spool.drop(parcel)
        self._board.delivered(parcel.message.job_id, parcel.message.attempt)

    def _send(self, parcel: Parcel) -> None:
        for again in range(_UPLOADS_PER_RESULT):
            for file, path in {file.sha256: (file, path) for file, path in parcel.files()}.values():
                # A server may know a blob and still want to see that this worker has it: then HEAD is not asked again.
                if again or self._session.blob_size(file.sha256) != file.size:
                    self._upload(file, path)
            try:
                self._session.post("/v1/worker/result", parcel.message, Ack)
            except NotFound:
                if again == _UPLOADS_PER_RESULT - 1:
                    raise
                continue
            return

    def _upload(self, file: ResultFile, path: Path) -> None:
        with path.open("rb") as stream:
            self._session.put_blob(file.sha256, stream, file.size)
