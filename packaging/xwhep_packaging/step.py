"""One output of the pipeline: what it needs, what decides it, how it is made."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from xwhep_packaging.artefacts import Output
from xwhep_packaging.store import Draft, Recipe


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One output. `needs` are other steps' names; `present` tells whether it is still where it belongs."""

    name: str
    doc: str
    needs: tuple[str, ...]
    recipe: Callable[[], Recipe]
    maker: Callable[[Draft], None]
    present: Callable[[Output], bool] = lambda output: True
