"""Starts doit for scripts/doit. `python -m doit` does the same, and needs twice the time until it reads dodo.py.

doit asks all installed packages for plug-ins, with a part of the standard library that takes longer to load than doit
itself. There are none: .venv holds what packaging/requirements names, and nothing else may change what a run does.
"""

from __future__ import annotations

import gc
import sys
from functools import partial
from importlib import import_module
from types import ModuleType

ASKS_PACKAGES = "importlib.metadata"
PROCESSES = "multiprocessing"
GARBAGE = 50_000  # objects made before garbage is looked for
DEBUGGER = "pdb"  # for `doit --pdb` alone


def without_plugins() -> ModuleType:
    """What doit takes for importlib.metadata: it knows no package."""
    empty = ModuleType(ASKS_PACKAGES)
    empty.entry_points = lambda **chosen: ()  # type: ignore[attr-defined]
    return empty


def processes_later() -> ModuleType:
    """What doit takes for multiprocessing: its two names, which load it when they are called. Steps run in threads."""
    stand_in = ModuleType(PROCESSES)
    for name in ("Process", "Queue"):
        setattr(stand_in, name, partial(call_of, name))
    return stand_in


def call_of(name: str, *given: object, **named: object) -> object:
    return getattr(import_module(PROCESSES), name)(*given, **named)


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
    gc.set_threshold(GARBAGE)  # what a start makes stays: looking for garbage in it is in vain
    stand_ins = {ASKS_PACKAGES: without_plugins(), PROCESSES: processes_later()}
    sys.modules |= {**stand_ins, DEBUGGER: later(DEBUGGER)}
    from doit.doit_cmd import DoitMain

    for name in stand_ins:
        del sys.modules[name]  # whoever else asks gets the whole truth
    return int(DoitMain().run(sys.argv[1:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
