"""What may be a name. A server refuses the rest; a client says so before it uploads anything."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")  # of apps, data, groups, workers, labels of workers, assets
NAME_RULE = "must start with a letter or digit, then have letters, digits or . _ + - (128 at most)"
_ODD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
MAX_WORD = 256  # characters of a job's label, group and session


def is_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None and ".." not in text


def is_plain(text: str) -> bool:
    """Without control characters and halves of characters."""
    return not _ODD.search(text)


def is_word(text: str) -> bool:
    """Whether it may be a job's label, group or session."""
    return len(text) <= MAX_WORD and is_plain(text)
