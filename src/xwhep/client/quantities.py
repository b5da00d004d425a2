"""Sizes as people type them."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
MOST = 2**60  # bytes


def size(word: str) -> int:
    """Bytes of `512M`, `2G`, `1.5GiB`, `4096`; K, M, G and T are powers of 1024.

    Raises:
        ArgumentTypeError: it is none of these, or more than there is.
    """
    found = _SIZE.fullmatch(word.strip())
    number = float(found[1]) * _UNITS[found[2].upper()] if found else -1.0
    if not 0 <= number <= MOST:
        raise ArgumentTypeError(f"{word!r} is no size: write 4096 (bytes), 512M or 2G")
    return round(number)
