"""Modes as chmod reads and ls shows them: `0750`, `g+r`, `u=rw,o-rwx`."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwx]*|[ugo]))+)")
_STEP = re.compile(r"([-+=])([ugo]|[rwx]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BIT = {"r": 4, "w": 2, "x": 1}


def changed(text: str, mode: int) -> int:
    """`mode` after the change that `text` says; an octal number is the whole new mode.

    Raises:
        ValueError: it says none.
    """
    if is_whole(text):
        return int(text, 8)
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if not found:
            raise ValueError(f"{text!r} is no mode; write it like 750, g+r or u=rw,o-rwx")
        who = "ugo" if not found[1] or "a" in found[1] else found[1]
        for operator, what in _STEP.findall(found[2]):
            mode = _step(mode, who, (operator, what))
    return mode


def is_whole(text: str) -> bool:
    """Whether it says all of a mode, whatever that was before."""
    return re.fullmatch(r"0?[0-7]{1,3}", text) is not None


def _step(mode: int, who: str, change: tuple[str, str]) -> int:
    operator, what = change
    bits = mode >> _SHIFT[what] & 7 if what in _SHIFT else sum(_BIT[letter] for letter in set(what))
    for one in who:
        shift = _SHIFT[one]
        if operator == "+":
            mode |= bits << shift
        elif operator == "-":
            mode &= ~(bits << shift)
        else:
            mode = mode & ~(7 << shift) | bits << shift
    return mode


def shown(mode: int, group: str) -> str:
    """`rwxr-x---`, and the owning group when there is one."""
    bits = "".join(letter if mode >> shift & _BIT[letter] else "-" for shift in (6, 3, 0) for letter in "rwx")
    return f"{bits} {group}" if group else bits
