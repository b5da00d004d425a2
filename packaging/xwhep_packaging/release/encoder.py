"""The one encoder of what a release compresses: zlib, level 6, its own header, which has neither a time nor a name."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

LEVEL = 6
GZIP = 31  # as zlib calls the form


def compressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One gzip stream of them all."""
    coder = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
    for chunk in chunks:
        yield coder.compress(chunk)
    yield coder.flush()
