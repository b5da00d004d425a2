"""Keys and manifests of what is made on a machine that gives less: they differ, and say so.

recipe ──> anything weaker here? ──no──> as it is
                 │ yes: is a strong output of it there already? ──yes──> that one does
                 └──no──> the same recipe with an input more: another key
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from xwhep_packaging import powers
from xwhep_packaging.artefacts import Output
from xwhep_packaging.errors import WeakError
from xwhep_packaging.powers import WEAKER
from xwhep_packaging.step import Step
from xwhep_packaging.store import Draft, Recipe, Store

SHOWN = 12  # sentences of an error; doit build prints all


def keyed(store: Store, step: Step, recipe: Recipe) -> Recipe:
    """What decides a step here. A weak output never has the key of a strong one; a strong one serves everywhere."""
    said = powers.weaker(recipe.stage)
    if not said:
        return recipe
    strong = store.find(recipe)
    if strong is not None and step.present(strong):
        return recipe
    return replace(recipe, inputs={**recipe.inputs, WEAKER: "; ".join(said)})


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A maker whose manifest says what was weaker: in this step, and in all that it was made from."""

    maker: Callable[[Draft], None]
    recipe: Recipe
    needs: Callable[[], Sequence[Output]]

    def __call__(self, draft: Draft) -> None:
        self.maker(draft)
        own = [self.recipe.inputs[WEAKER]] if WEAKER in self.recipe.inputs else []
        said = [*(row for output in self.needs() for row in of(output)), *own, *draft.facts.get(WEAKER, ())]
        if said:
            draft.facts[WEAKER] = list(dict.fromkeys(said))


def of(output: Output) -> list[str]:
    """What was weaker in the making of an output; empty at full strength."""
    return list(output.manifest.facts.get(WEAKER, ()))


def refuse(report: dict[str, Any], what: str) -> None:
    """Stop what only a build at full strength may go into.

    Raises:
        WeakError: something of the last build was made with less.
    """
    said = report.get(WEAKER) or []
    if said:
        raise WeakError(
            f"this build was made on a machine that gives less: it cannot be {what}",
            cause="\n".join([*said[:SHOWN], *([f"and {len(said) - SHOWN} more"] if len(said) > SHOWN else [])]),
            next_step="build it on a machine at full strength; scripts/doit doctor says what this one lacks",
        )
