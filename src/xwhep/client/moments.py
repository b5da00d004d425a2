"""Moments and spans of time as people type them."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError
from datetime import UTC, datetime

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_SPAN = re.compile(rf"\d+(?:\.\d+)?|(?:{_PART.pattern})+")


def span(word: str) -> float:
    """`90`, `45s`, `10m`, `2h`, `1h30m`, `7d`, `4w` in seconds.

    Raises:
        ArgumentTypeError: it is none of these.
    """
    text = word.strip().lower()
    if not _SPAN.fullmatch(text):
        raise ArgumentTypeError(f"{word!r} is no span of time: write 90, 45s, 10m, 2h, 7d or 4w")
    return (
        float(text) if text[-1] not in _UNITS_S else sum(float(n) * _UNITS_S[unit] for n, unit in _PART.findall(text))
    )


def past(word: str) -> float:
    """A span ago (`2h`), or a date and time (`2026-11-23T22:46`, UTC when it names no zone), as seconds since 1970.

    Raises:
        ArgumentTypeError: it is neither.
    """
    if _SPAN.fullmatch(word.strip().lower()):
        return max(0.0, time.time() - span(word))
    return max(0.0, _moment(word, "2h (ago)"))


def coming(word: str) -> float:
    """A span from now on (`+2h`), or a date and time as `past` takes it, as seconds since 1970.

    Raises:
        ArgumentTypeError: it is neither, or it has passed.
    """
    if word.startswith("+"):
        return time.time() + span(word[1:])
    seconds = _moment(word, "+2h")
    if seconds <= time.time():
        raise ArgumentTypeError(f"{word} has passed")
    return seconds


def _moment(word: str, example: str) -> float:
    try:
        moment = datetime.fromisoformat(word.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{word!r} is no moment: write {example}, 2026-11-23 or 2026-11-23T22:46") from None
