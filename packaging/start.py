"""Starts doit for scripts/doit. `python -m doit` does the same, and needs twice the time until it reads dodo.py.

doit asks all installed packages for plug-ins, with a part of the standard library that takes longer to load than doit
itself. There are none: .venv holds what packaging/requirements names, and nothing else may change what a run does.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

ASKS_PACKAGES = "importlib.metadata"
DEBUGGER = "pdb"  # for `doit --pdb` alone


def without_plugins() -> ModuleType:
    """What doit takes for importlib.metadata: it knows no package."""
    empty = ModuleType(ASKS_PACKAGES)
    empty.entry_points = lambda **chosen: ()  # type: ignore[attr-defined]
    return empty


def later(name: str) -> ModuleType:
    """Stands for a module until something of it is used. (LazyLoader's would be loaded by `inspect`, which asks every
    module for its file.)"""

    def used(attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stand_in = ModuleType(name)
    stand_in.__getattr__ = used  # type: ignore[method-assign]
    return stand_in


def main() -> int:
    sys.modules |= {ASKS_PACKAGES: without_plugins(), DEBUGGER: later(DEBUGGER)}
    from doit.doit_cmd import DoitMain

    del sys.modules[ASKS_PACKAGES]  # whoever else asks gets the whole truth
    return int(DoitMain().run(sys.argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
