"""`doit plan`: what a build would make now, what is up to date, and how long it usually takes.

each step's key ──> there, and as recorded? ──no──> the history's usual seconds ──> work, and time with N at once

Keys are computed from inputs alone, so this is what a build does, with one exception that is said where it holds:
which packages apt resolves is known only afterwards where the lock does not say it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from xwhep_packaging.at_once import at_once
from xwhep_packaging.pipeline import Pipeline

UP_TO_DATE, TO_MAKE, OPEN = "up to date", "to make", "depends"
REMEMBERED = 5  # the usual time of a step is the median of so many
MINUTE_S = 60


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One step. `seconds`: what it usually takes, None when it was never made. `depends_on`: steps whose result decides
    whether it is made; they do not know it before they have run."""

    step: str
    state: str
    needs: tuple[str, ...]
    seconds: float | None = None
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All steps of a build, in the order of the pipeline; `at_once`: how many run beside each other."""

    steps: tuple[Planned, ...]
    at_once: int

    @property
    def to_make(self) -> list[Planned]:
        return [row for row in self.steps if row.state != UP_TO_DATE]

    @property
    def work_s(self) -> float:
        """One after another."""
        return sum(row.seconds or 0.0 for row in self.to_make)

    @property
    def elapsed_s(self) -> float:
        """Until the last one ends, each begun as soon as what it needs is there and a place is free."""
        return _elapsed({row.step: row for row in self.to_make}, self.at_once, {})

    def left_s(self, done: Collection[str], spent: Mapping[str, float]) -> float:
        """The same within a run: `done` are steps that are made, `spent` has the seconds of those that run."""
        rows = {row.step: row for row in self.to_make if row.step not in done}
        return _elapsed(rows, self.at_once, spent)


def _elapsed(rows: Mapping[str, Planned], at_once: int, spent: Mapping[str, float]) -> float:
    """What runs has its place already, whatever it needs."""
    ends: dict[str, float] = {}
    places = [0.0] * at_once
    for row in sorted(rows.values(), key=lambda row: (row.step not in spent, _depth(row.step, rows))):
        seconds = max(0.0, (row.seconds or 0.0) - spent.get(row.step, 0.0))
        ready = 0.0 if row.step in spent else max((ends.get(need, 0.0) for need in row.needs), default=0.0)
        ends[row.step] = max(ready, heapq.heappop(places)) + seconds
        heapq.heappush(places, ends[row.step])
    return max(ends.values(), default=0.0)


def _depth(name: str, rows: Mapping[str, Planned]) -> int:
    return 1 + max((_depth(need, rows) for need in rows[name].needs if need in rows), default=0)


def plan(pipeline: Pipeline, places: int = 0) -> Plan:
    """What a build would do.

    Raises:
        PipelineError: a step's inputs cannot be read; a build fails in the same way.
    """
    usual = _usual_seconds(pipeline)
    made = {name: pipeline.find(name) is not None for name in _steps_of_build(pipeline)}
    rows = []
    for name, found in made.items():
        unsure = () if found else _unsure(pipeline, name, made)
        state = UP_TO_DATE if found else OPEN if unsure else TO_MAKE
        needs, seconds = pipeline.steps[name].needs, usual.get(name)
        rows.append(Planned(step=name, state=state, needs=needs, seconds=seconds, depends_on=unsure))
    return Plan(steps=tuple(rows), at_once=places or at_once())


def _steps_of_build(pipeline: Pipeline) -> list[str]:
    """All that the ends of a build need, in the order of the pipeline."""
    wanted: set[str] = set()
    waiting = pipeline.ends()
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += pipeline.steps[name].needs
    return [name for name in pipeline.steps if name in wanted]


def _unsure(pipeline: Pipeline, name: str, made: dict[str, bool]) -> tuple[str, ...]:
    """The sets of packages below a step that apt has yet to resolve, because the lock does not have them."""
    below = {deeper for need in pipeline.steps[name].needs for deeper in (need, *_unsure(pipeline, need, made))}
    return tuple(sorted(step for step in below if step.startswith("packages:") and not _known(pipeline, step, made)))


def _known(pipeline: Pipeline, step: str, made: dict[str, bool]) -> bool:
    return made[step] or not isinstance(pipeline.supply.foreseen(step.partition(":")[2]), str)


def _usual_seconds(pipeline: Pipeline) -> dict[str, float]:
    taken: dict[str, list[float]] = {}
    for entry in pipeline.store.history():
        taken.setdefault(entry.step, []).append(entry.seconds)
    return {step: median(seconds[-REMEMBERED:]) for step, seconds in taken.items()}


def as_json(made: Plan) -> dict[str, Any]:
    """For machines. Seconds are null where a step was never made."""
    return {
        "steps": [
            {
                "step": row.step,
                "state": row.state,
                "expected_s": None if row.seconds is None else round(row.seconds, 1),
                "depends_on": list(row.depends_on),
            }
            for row in made.steps
        ],
        "to_make": len(made.to_make),
        "work_s": round(made.work_s, 1),
        "elapsed_s": round(made.elapsed_s, 1),
        "at_once": made.at_once,
    }


def table(made: Plan) -> str:
    """For people."""
    width = max(len(row.step) for row in made.steps)
    lines = [f"  {row.step:<{width}}  {_words(row)}".rstrip() for row in made.steps]
    if not made.to_make:
        return "\n".join([*lines, "", f"nothing to do: all {len(made.steps)} steps are up to date"])
    unknown = sum(row.seconds is None for row in made.to_make)
    said = f"{len(made.to_make)} of {len(made.steps)} steps to make: {in_words(made.work_s)} of work, "
    said += f"{in_words(made.elapsed_s)} with {made.at_once} at once"
    if unknown:
        said += f", and {unknown} that {'was' if unknown == 1 else 'were'} never made here"
    return "\n".join([*lines, "", said, "scripts/doit explain says why"])


def _words(row: Planned) -> str:
    if row.state == UP_TO_DATE:
        return UP_TO_DATE
    seconds = "" if row.seconds is None else f"  {in_words(row.seconds)}"
    return f"{TO_MAKE}{seconds}" if row.state == TO_MAKE else f"depends on {', '.join(row.depends_on)}{seconds}"


def in_words(seconds: float) -> str:
    if seconds < MINUTE_S:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{int(seconds) // MINUTE_S} min {int(seconds) % MINUTE_S:02} s"
