"""A gate's verdict, kept beside what was built: what did not change is not tried again.

keys of what is tried, the gate's code ──> tried before? ──yes──> what was tried
                                               │ no
                                            the gate ──> verdict.json in _build/gates/KEY
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging.artefacts import digests_below
from xwhep_packaging.store import Draft, Recipe, Store

STAGE = "gates"
FILE = "verdict.json"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """`inputs`: what decides the answer, each with its key or value; `check` returns what it tried, or raises."""

    name: str
    inputs: Mapping[str, str]
    check: Callable[[], Sequence[str]]


def passed(store: Store, gate: Gate) -> tuple[str, ...]:
    """What was tried, now or before; a gate that does not hold raises, and leaves no verdict."""
    output = store.make(recipe(gate), lambda draft: _try(gate, draft))
    return tuple(json.loads(output.path(FILE).read_text(encoding="utf-8"))["tried"])


def is_known(store: Store, gate: Gate) -> bool:
    return store.find(recipe(gate)) is not None


def recipe(gate: Gate) -> Recipe:
    return Recipe(stage=STAGE, name=gate.name, inputs=gate.inputs, files={"code": digests_below(Path(__file__).parent)})


def _try(gate: Gate, draft: Draft) -> None:
    tried = list(gate.check())
    draft.log.write_text("".join(f"{one}: passed\n" for one in tried), encoding="utf-8")
    record = {"gate": gate.name, "verdict": "passed", "tried": tried}
    (draft.folder / FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
