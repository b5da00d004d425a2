"""reproducibility.html: per artefact and variation, night after night, one self-contained page.

history ──> rows of plain values ──> packaging/report/reproducibility.html (jinja2) ──> one file, no script
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xwhep_packaging.nightly import history
from xwhep_packaging.nightly.history import DIFFERENT, IDENTICAL, Night
from xwhep_packaging.seeing.templates import template
from xwhep_packaging.store import write_durably

NAME = "reproducibility.html"
NIGHTS = 60  # shown as strips
LISTED = 30  # in the table of nights


def write(folder: Path, nights: Sequence[Night], product: str) -> Path:
    """Make the page of these nights, oldest first; returns its path."""
    path = folder / NAME
    write_durably(path, render(nights, product).encode())
    return path


def render(nights: Sequence[Night], product: str) -> str:
    shown = list(nights[-NIGHTS:])
    verified = [night for night in shown if any(seen.variations for seen in night.artefacts.values())]
    names = list(dict.fromkeys(name for night in reversed(verified) for name in night.artefacts))
    variations = {one for night in verified for seen in night.artefacts.values() for one in seen.variations}
    return template("reproducibility.html").render(
        product=product,
        nights=list(reversed(shown))[:LISTED],
        last=shown[-1] if shown else None,
        count=len(shown),
        variations=sorted(variations),
        artefacts=sorted((artefact(name, verified) for name in names), key=lambda one: one["state"] != DIFFERENT),
    )


def artefact(name: str, nights: Sequence[Night]) -> dict[str, Any]:
    """What the page says of one: how it is now, since when, by which cause, and its strips."""
    newest = next(night for night in reversed(nights) if name in night.artefacts)
    seen = newest.artefacts[name]
    variations = sorted(
        {one for night in nights if name in night.artefacts for one in night.artefacts[name].variations}
    )
    return {
        "name": name,
        "state": seen.state if seen.variations else "",
        "causes": seen.causes,
        "blamed": [one for one, state in seen.variations.items() if state == DIFFERENT],
        "last_good": history.last_good(nights, name) if seen.state != IDENTICAL else newest.commit,
        "gone": newest is not nights[-1],
        "strips": [(one, drawn(history.strip(nights, name, one))) for one in variations],
    }


def drawn(runs: Sequence[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """Runs as the picture wants them: (state, first night, how many)."""
    placed, at = [], 0
    for state, length in runs:
        placed.append((state, at, length))
        at += length
    return placed
