"""Sizes, durations and times as people type them. Each raises ValueError, saying what is understood."""

from __future__ import annotations

import math
import re
import time

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def size(text: str) -> int:
    """Bytes of `512M`, `2G`, `1.5GiB`, `4096`; K, M, G and T are powers of 1024."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no size; write it like 512M or 2G")
    return round(float(found[1]) * _UNITS[found[2].upper()])


def duration(text: str) -> float:
    """Seconds of `90`, `10m`, `2h`, `1h30m`, `1d`."""
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        text += "s"
    if not re.fullmatch(f"(?:{_PART.pattern})+", text):
        raise ValueError(f"{text!r} is no duration; write it like 90 (seconds), 10m, 2h or 1h30m")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if not math.isfinite(seconds) or seconds <= 0:
        raise ValueError("a duration is more than 0")
    return seconds


def moment(text: str, now: float | None = None) -> float:
    """UTC seconds since 1970 of `+2h` from now on, or of an ISO time; without a zone that is UTC, as `xw` prints it."""
    now = time.time() if now is None else now
    if text.startswith("+"):
        return now + duration(text[1:])
    from datetime import UTC, datetime  # noqa: PLC0415 - hardly any call has a time

    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as exc:
        raise ValueError(f"{text!r} is no time; write it like 2026-11-23T22:46 (UTC) or +2h") from exc
    seconds = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    if seconds <= now:
        raise ValueError(f"{text} has passed")
    return seconds
