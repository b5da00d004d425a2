"""Coming back to a server that is away: for ever, ever slower up to a cap, and never in step with other workers."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TypeVar

from xwhep.common.errors import ConnectionFailed, UntrustedCertificate, XwhepError
from xwhep.worker.flag import Flag
from xwhep.worker.session import Away

log = logging.getLogger(__name__)

FIRST_S = 0.25
CAP_S = 30.0
RETRY_AFTER_CAP_S = 600.0
# A certificate that does not fit may be in the middle of its rotation: jobs that run must not suffer from it.
PASSING: tuple[type[XwhepError], ...] = (ConnectionFailed, UntrustedCertificate)

Result = TypeVar("Result")


class Stopped(Exception):
    """The flag that allowed an action to go on was set to end it."""


class Backoff:
    """Growing waits with jitter. `spread` gives a number from 0 to 1 (tests pass their own)."""

    def __init__(
        self, first_s: float = FIRST_S, cap_s: float = CAP_S, spread: Callable[[], float] = random.random
    ) -> None:
        self._first_s, self._cap_s, self._spread = first_s, cap_s, spread
        self.failures = 0

    def reset(self) -> None:
        self.failures = 0

    def next_s(self, at_least_s: float = 0.0) -> float:
        """Seconds to wait after one more failure: half fixed, half chance; never less than the server asked for."""
        ceiling = min(self._cap_s, self._first_s * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return max(ceiling / 2 * (1 + self._spread()), min(at_least_s, RETRY_AFTER_CAP_S))


def patiently(
    action: Callable[[], Result], stop: Flag, what: str, passing: tuple[type[XwhepError], ...] = PASSING
) -> Result:
    """`action()`, again and again while it fails with a passing error.

    Raises:
        Stopped: `stop` was set meanwhile.
        XwhepError: an error that does not pass.
    """
    backoff = Backoff()
    while True:
        if stop.is_set():
            raise Stopped
        try:
            return action()
        except passing as exc:
            if not stop.is_set():
                pause(backoff, exc, stop, what)


def pause(backoff: Backoff, error: XwhepError, stop: Flag, what: str) -> None:
    """Wait as long as this failure asks for; log the first of a row of failures, then one in ten."""
    seconds = backoff.next_s(error.retry_after_s if isinstance(error, Away) else 0.0)
    if backoff.failures % 10 == 1:
        log.warning("%s: %s; trying again", what, error)
    stop.wait(seconds)
