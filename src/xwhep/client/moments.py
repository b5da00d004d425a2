"""Moments and spans of time as people type them."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError
from datetime import UTC, datetime

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw]?)")


def span(word: str) -> float:
    """`90`, `45s`, `10m`, `2h`, `7d`, `4w` in seconds.

    Raises:
        ArgumentTypeError: it is none of these.
    """
    found = _SPAN.fullmatch(word.strip().lower())
    if not found:
        raise ArgumentTypeError(f"{word!r} is no span of time: write 90, 45s, 10m, 2h, 7d or 4w")
    return float(found[1]) * _UNITS_S[found[2]]


def past(word: str) -> float:
    """A span ago (`2h`), or a date and time (`2026-11-23T22:46`, UTC when it names no zone), as seconds since 1970.

    Raises:
        ArgumentTypeError: it is neither.
    """
    if _SPAN.fullmatch(word.strip().lower()):
        return max(0.0, time.time() - span(word))
    try:
        moment = datetime.fromisoformat(word.strip())
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{word!r} is no moment: write 2h (ago), 2026-11-23 or 2026-11-23T22:46") from None
