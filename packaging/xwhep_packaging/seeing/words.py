"""Texts for the page: sizes, times, and logs that are cut and made harmless."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

MEGABYTE = 1_000_000
TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")  # colours, titles, cursor moves
DEAREST_BYTES = 6  # what one character can cost in a page: &quot;
READ_BYTES = 200_000  # of a log's end: more is never shown
MINUTE_S = 60


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """The end of a log, and how many bytes before it were left out."""

    name: str
    path: str
    text: str
    size: int
    left_out: int

    @property
    def note(self) -> str:
        return f"the first {size(self.left_out)} are left out; the whole is {self.path}" if self.left_out else ""


def excerpt(path: Path, room: int) -> Excerpt:
    """What of a log's end fits into `room` bytes of a page, whole lines where that is possible."""
    whole = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, whole - READ_BYTES))
        raw = stream.read(READ_BYTES)
    lines = plain(raw.decode("utf-8", "replace")).splitlines()
    kept = _last(lines, room)
    if lines and not kept:  # one endless line
        kept = [lines[-1][: room // DEAREST_BYTES]]
    shown = "\n".join(kept)
    cut = whole > READ_BYTES or kept != lines
    left_out = max(1, whole - len(shown.encode())) if cut else 0
    return Excerpt(name=path.name, path=str(path), text=shown, size=whole, left_out=left_out)


def _last(lines: Sequence[str], room: int) -> list[str]:
    kept: list[str] = []
    for line in reversed(lines):
        room -= len(escape(line).encode()) + 1
        if room < 0:
            break
        kept.append(line)
    return kept[::-1]


def plain(text: str) -> str:
    """Without a terminal's commands, and without characters that turn or hide others."""
    shown = TERMINAL.sub("", text)
    return "".join(
        letter if letter in "\n\r\t" or unicodedata.category(letter)[0] != "C" else "\ufffd" for letter in shown
    )


def size(count: int) -> str:
    if count >= MEGABYTE:
        return f"{count / MEGABYTE:.1f} MB"
    return f"{count / 1000:.1f} kB" if count >= 1000 else f"{count} bytes"


def seconds(count: float) -> str:
    if count < MINUTE_S:
        return f"{count:.1f} s" if count >= 0.1 else f"{count * 1000:.0f} ms"
    return f"{int(count) // MINUTE_S} min {int(count) % MINUTE_S:02d} s"
