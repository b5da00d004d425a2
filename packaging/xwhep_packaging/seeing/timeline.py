"""Who waited for whom: the steps that the last making run made, on one axis of time, and those that were there already.

history ──> steps of the newest run ──> when could it begin? ──> for which step, for a free core ──> rows
       └──> steps of earlier runs ────────────────────────────────────────────────────────────────> kept
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xwhep_packaging.store import Made

SHORT_WAIT_S = 0.5  # less is the time it takes to start a thread and to look at a key


@dataclass(frozen=True, kw_only=True)
class Row:
    """One step of the run, in seconds since its first step began; `waited_for` is the need that was done last."""

    step: str
    start: float
    end: float
    ready: float
    waited_for: str = ""
    critical: bool = False

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def idle(self) -> float:
        """How long it could have run and did not: all cores were busy."""
        wait = self.start - self.ready
        return wait if wait >= SHORT_WAIT_S else 0.0


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """`kept` are steps that an earlier run had made."""

    rows: tuple[Row, ...] = ()
    kept: tuple[Made, ...] = ()
    began: float = 0

    @property
    def seconds(self) -> float:
        return max((row.end for row in self.rows), default=0.0)


def timeline(history: Sequence[Made], keys: Mapping[str, str], needs: Mapping[str, Sequence[str]]) -> Timeline:
    """The newest run among those that made the steps as they are now."""
    last = {entry.step: entry for entry in history if keys.get(entry.step) == entry.key}
    newest = max((entry.run for entry in last.values()), default=0)
    made = {name: entry for name, entry in last.items() if entry.run == newest and newest}
    kept = tuple(entry for name, entry in last.items() if name not in made)
    if not made:
        return Timeline(kept=kept)
    began = min(_start(entry) for entry in made.values())
    rows = [_row(entry, made, needs.get(name, ()), began) for name, entry in made.items()]
    path = _critical({row.step: row for row in rows})
    marked = [Row(**{**row.__dict__, "critical": row.step in path}) for row in rows]
    return Timeline(rows=tuple(sorted(marked, key=lambda row: (row.start, row.end))), kept=kept, began=began)


def _start(entry: Made) -> float:
    return entry.end - entry.seconds


def _row(entry: Made, made: Mapping[str, Made], needs: Sequence[str], began: float) -> Row:
    before = [made[need] for need in needs if need in made]
    last = max(before, key=lambda need: need.end, default=None)
    start = _start(entry) - began
    return Row(
        step=entry.step,
        start=start,
        end=entry.end - began,
        ready=min(start, last.end - began) if last else 0.0,
        waited_for=last.step if last else "",
    )


def _critical(rows: Mapping[str, Row]) -> set[str]:
    """The chain that decided when the run was over: from the last step back, each time to the one it waited for."""
    found: set[str] = set()
    name = max(rows, key=lambda one: rows[one].end, default="")
    while name and name not in found:
        found.add(name)
        name = rows[name].waited_for
    return found
