"""Words and numbers for people: what a terminal may be shown, sizes and times."""

from __future__ import annotations

import time


def clean(text: str) -> str:
    """`text` without what could drive a terminal (escapes, control and direction characters); each becomes U+FFFD."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def size(count: float) -> str:
    """Bytes as `512 B`, `1.5 KiB`, `3.0 GiB`."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if count < 1024 or unit == "TiB":
            break
    return f"{count:.1f} {unit}"


def jobs(count: int) -> str:
    """`1 job`, `3 jobs`."""
    return f"{count} job" if count == 1 else f"{count} jobs"


def moment(seconds: float) -> str:
    """UTC seconds since 1970 as `2026-11-23 22:46:37Z`; `-` for 0 and for what no calendar holds."""
    if seconds <= 0:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "-"


def duration(seconds: float) -> str:
    """`0.35 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
