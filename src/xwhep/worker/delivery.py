"""Bringing stored results to the server, all that wait in one message, until it says that it has them.

Small files travel inside the message; larger ones are uploaded before it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from xwhep.common.errors import AuthenticationFailed, Conflict, NotAllowed, NotFound, XwhepError, from_wire
from xwhep.common.wire import ResultFile, Running
from xwhep.common.wire_bulk import Outcome, Outcomes, WorkResults
from xwhep.worker.board import Board
from xwhep.worker.flag import Flag
from xwhep.worker.retry import PASSING, Stopped, patiently
from xwhep.worker.session import Away, Session
from xwhep.worker.spool import Parcel, Spool

log = logging.getLogger(__name__)

_UPLOADS_PER_RESULT = 3  # how often the server may say that it misses a blob it was given
MESSAGE_RESULTS, MESSAGE_BYTES = 64, 1024 * 1024  # of one message: results, and contents in it


class Delivery:
    """Owns the way from the spool to the server. `run` is the body of its thread."""

    def __init__(self, session: Session, spool: Spool, board: Board, stop: Flag) -> None:
        self._session, self._spool, self._board, self._stop = session, spool, board, stop
        self._parcels: deque[Parcel] = deque()
        self._changed = threading.Condition()
        self._under_way = 0
        self._last = False

    def waiting(self) -> int:
        return len(self._parcels) + self._under_way

    def add(self, parcel: Parcel, app: str = "") -> None:
        self._board.delivering(Running(job_id=parcel.message.job_id, attempt=parcel.message.attempt), app)
        with self._changed:
            self._parcels.append(parcel)
            self._changed.notify()

    def finish(self) -> None:
        """No more will come: `run` ends when all is delivered."""
        with self._changed:
            self._last = True
            self._changed.notify()

    def run(self) -> None:
        """Deliver until `finish`, or until `stop` is set (what is left stays stored).

        Raises:
            AuthenticationFailed: this worker is no longer known to the server.
        """
        while (parcels := self._next()) and not self._stop.is_set():
            try:
                self.deliver(parcels)
            except Stopped:
                return

    def _next(self) -> list[Parcel]:
        """What waits and fits into one message; waits for the first, none when no more will come."""
        with self._changed:
            self._under_way = 0
            self._changed.wait_for(lambda: self._parcels or self._last)
            taken: list[Parcel] = []
            left = MESSAGE_BYTES
            while self._parcels and len(taken) < MESSAGE_RESULTS:
                left -= self._parcels[0].inline_bytes
                # One with uploads goes alone: results that are small must not wait for gigabytes.
                if taken and (left < 0 or self._parcels[0].files() or taken[0].files()):
                    break
                taken.append(self._parcels.popleft())
            self._under_way = len(taken)
            return taken

    def deliver(self, parcels: Sequence[Parcel]) -> None:
        """Bring some results; afterwards they are no longer stored here.

        Raises:
            Stopped: `stop` was set before the server had them; they stay stored.
            AuthenticationFailed, NotAllowed: the server does not take anything from this worker.
        """
        missing = list(parcels)
        for again in range(_UPLOADS_PER_RESULT):
            missing = self._send([parcel for parcel in missing if self._upload(parcel, again=again > 0)])
        for parcel in missing:
            self._end(parcel, NotFound("the server keeps losing its files"))

    def _upload(self, parcel: Parcel, *, again: bool) -> bool:
        """Bring the files that do not travel inside the message; False when that can never be."""
        try:
            patiently(
                lambda: self._upload_files(parcel, again=again), self._stop, f"{parcel}: delivering its files", PASSING
            )
        except (AuthenticationFailed, NotAllowed):
            raise
        except (XwhepError, OSError) as exc:
            self._end(parcel, exc)
            return False
        return True

    def _upload_files(self, parcel: Parcel, *, again: bool) -> None:
        for file, path in {file.sha256: (file, path) for file, path in parcel.files()}.values():
            # A server may know a blob and still want to see that this worker has it: then HEAD is not asked again.
            if again or self._session.blob_size(file.sha256) != file.size:
                self._upload_file(file, path)

    def _upload_file(self, file: ResultFile, path: Path) -> None:
        with path.open("rb") as stream:
            self._session.put_blob(file.sha256, stream, file.size)

    def _send(self, parcels: Sequence[Parcel]) -> list[Parcel]:
        """One message; those of which the server misses a file."""
        if not parcels:
            return []
        what = f"{parcels[0]}: delivering its result" if len(parcels) == 1 else f"delivering {len(parcels)} results"
        try:
            outcomes = patiently(lambda: self._post(parcels), self._stop, what, PASSING)
        except (AuthenticationFailed, NotAllowed):
            raise
        except XwhepError as exc:
            if len(parcels) > 1:  # one of them spoils the message
                return [missed for parcel in parcels for missed in self._send([parcel])]
            outcomes = [Outcome(code=exc.code, message=str(exc))]
        missing = []
        for parcel, outcome in zip(parcels, outcomes, strict=True):
            if outcome.code == NotFound.code:
                missing.append(parcel)
            else:
                self._end(parcel, from_wire(outcome.code, outcome.message) if outcome.code else None)
        return missing

    def _post(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        contents = {name: content for parcel in parcels for name, content in parcel.contents.items()}
        message = WorkResults(results=[parcel.message for parcel in parcels], contents=list(contents.values()))
        answer = self._session.post("/v1/worker/results", message, Outcomes)
        if answer is None or len(answer.outcomes) != len(parcels):
            raise Away("the server did not say what became of each result")
        return answer.outcomes

    def _end(self, parcel: Parcel, error: Exception | None) -> None:
        """The server has it, or will never take it."""
        if error is None or isinstance(error, Conflict):
            if error is None:
                log.info("%s: delivered", parcel)
            else:
                log.warning("%s: dropped, the server does not want it any more: %s", parcel, error)
            self._spool.drop(parcel)
        else:
            log.error("%s: the result cannot be delivered and is set aside: %s", parcel, error)
            self._spool.reject(parcel.folder)
        self._board.delivered(parcel.message.job_id, parcel.message.attempt)
