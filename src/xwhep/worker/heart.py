"""The heartbeat: says which attempts this worker holds, learns which it must stop.

It has a connection of its own, so gigabytes under way delay nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from xwhep.common.errors import AuthenticationFailed, NotAllowed, XwhepError
from xwhep.common.wire import Heartbeat, HeartbeatReply
from xwhep.worker.board import Board
from xwhep.worker.flag import Flag
from xwhep.worker.retry import Backoff, pause
from xwhep.worker.session import Session

log = logging.getLogger(__name__)

# The server says when to come again; these bounds keep a wrong answer from silencing or spinning this worker.
LEAST_S, MOST_S = 0.1, 300.0
_ANSWER_LEAST_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Told:
    """Who is told what a heart hears: a new token of this worker; that the server answers again, and since when
    (time.monotonic()) it had not."""

    renew: Callable[[str], None] = lambda _: None
    back: Callable[[float], None] = lambda _: None


class Heart:
    """`beat` is the body of its thread."""

    def __init__(self, session: Session, board: Board, interval_s: float, told: Told | None = None) -> None:
        self._session, self._board, self._told = session, board, told or Told()
        self._interval_s = bounded(interval_s)

    def beat(self, stop: Flag) -> None:
        """Until `stop` is set.

        Raises:
            AuthenticationFailed, NotAllowed: the server does not know this worker any more.
        """
        backoff = Backoff(cap_s=max(1.0, self._interval_s))
        silent_since = 0.0
        while not stop.is_set():
            asked_at = time.monotonic()
            try:
                self._once()
            except (AuthenticationFailed, NotAllowed):
                raise
            except XwhepError as exc:
                self._board.connected(False)
                silent_since = silent_since if backoff.failures else asked_at
                pause(backoff, exc, stop, "heartbeat")
                continue
            if backoff.failures:
                log.info("the server answers again")
                self._told.back(silent_since)
            backoff.reset()
            self._board.connected(True)
            stop.wait(self._interval_s * random.uniform(0.9, 1.0))  # noqa: S311 - spreads load, hides nothing

    def _once(self) -> None:
        timeout_s = max(_ANSWER_LEAST_S, self._interval_s)
        message = Heartbeat(running=self._board.held())
        reply = self._session.post("/v1/worker/heartbeat", message, HeartbeatReply, timeout_s=timeout_s)
        if reply is None:
            return
        self._interval_s = bounded(reply.heartbeat_s)
        if reply.token:
            self._told.renew(reply.token)
        self._board.watch(reply.watched)
        for running in reply.stop:
            if attempt := self._board.find(running):
                log.info("%s: stopped by the server", attempt)
                attempt.cancel.set()


def bounded(seconds: float) -> float:
    """An interval that can be kept; not a number counts as the longest."""
    return min(max(seconds, LEAST_S), MOST_S) if seconds == seconds else MOST_S  # noqa: PLR0124 - nan
