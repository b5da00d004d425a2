"""A block of lines at the bottom of a terminal, drawn again in place.

lines ──cut to the window──> cursor to the block's first row, each line over its old self ──> one write
said  ──────────────────────────────> written where the block was, which moves down ─────────────┘

It moves the cursor up, clears to the end of a line and of the screen, and colours. No cursor is hidden and no other
screen shown, so that whatever ends the run leaves a terminal that works.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

MARGIN = 3  # columns that stay free: a terminal shows Ctrl-C as ^C, which must not begin another row
CLEAR_LINE, CLEAR_BELOW, UP = "\x1b[K", "\x1b[J", "\x1b[{}A"
STYLES = {"dim": "\x1b[2m", "good": "\x1b[32m", "bad": "\x1b[31m"}
PLAIN = "\x1b[0m"
MARKS = {"·": "dim", "✓": "good", "✗": "bad"}

Part = tuple[str, str]  # text, and its style: a name in STYLES, or empty
Line = tuple[Part, ...]


def can_draw(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a cursor can be moved there: no pipe or file, no terminal that says it is too simple."""
    return stream.isatty() and environ.get("TERM", "") not in ("", "dumb")


def wants_colours(environ: Mapping[str, str] = os.environ) -> bool:
    """As no-color.org says."""
    return not environ.get("NO_COLOR")


def window(stream: TextIO) -> tuple[int, int]:
    """Columns and rows, as they are now."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except OSError:  # no terminal
        size = os.terminal_size((0, 0))
    if not size.columns or not size.lines:
        size = shutil.get_terminal_size()
    return size.columns, size.lines


def cut(line: Line, width: int) -> Line:
    """So much of a line as is not wider."""
    kept: list[Part] = []
    for text, style in line:
        if (room := width - sum(len(known) for known, _ in kept)) > 0:
            kept.append((text[:room], style))
    return tuple(kept)


def marked(line: str) -> Line:
    """A line of the plain output, with its first letter coloured where that is a mark."""
    style = MARKS.get(line[:1], "")
    return ((line[:1], style), (line[1:], "")) if style else ((line, ""),)


@dataclass
class Block:
    """What is drawn at the bottom. `shown` has the width of each of its lines."""

    stream: TextIO
    size: Callable[[], tuple[int, int]]
    colours: bool = True
    shown: list[int] = field(default_factory=list)

    def draw(self, lines: Sequence[Line], said: str | None = None) -> None:
        """Replace the block, whatever the window's size has become; `said` stays above it."""
        columns, rows = self.size()
        kept = [cut(line, max(1, columns - MARGIN)) for line in lines[: max(1, rows - 1)]]
        text = self._to_first_row(columns, rows)
        if said is not None:
            text += CLEAR_BELOW + "".join(f"{self._styled(marked(line))}\n" for line in said.split("\n"))
        text += "\n".join(self._styled(line) + CLEAR_LINE for line in kept)
        self.stream.write(text + CLEAR_BELOW)
        self.stream.flush()
        self.shown = [sum(len(part) for part, _ in line) for line in kept]

    def clear(self) -> None:
        if self.shown:
            self.draw(())

    def _to_first_row(self, columns: int, rows: int) -> str:
        """A window that became narrower has broken the lines that were wider."""
        height = sum(max(1, -(-width // max(1, columns))) for width in self.shown)
        climb = min(height, rows) - 1
        return "\r" + (UP.format(climb) if climb > 0 else "")

    def _styled(self, line: Line) -> str:
        return "".join(
            f"{STYLES[style]}{text}{PLAIN}" if style and self.colours and text else text for text, style in line
        )
