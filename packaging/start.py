"""Starts doit for scripts/doit. `python -m doit` does the same, and needs twice the time until it reads dodo.py.

doit asks all installed packages for plug-ins, with a part of the standard library that takes longer to load than doit
itself. There are none: .venv holds what packaging/requirements names, and nothing else may change what a run does.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import FunctionType, ModuleType, SimpleNamespace

ASKS_PACKAGES = "importlib.metadata"
PROCESSES = "multiprocessing"
GARBAGE = 50_000  # objects made before garbage is looked for
DEBUGGER = "pdb"  # for `doit --pdb` alone
BACKPORTS = "typing_extensions"  # msgspec takes of it what Python's own typing has as well since 3.11


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


def where_it_begins(function: FunctionType) -> tuple[list[str], int]:
    """What doit wants of inspect.getsourcelines, which reads and takes apart a function's text: the number alone."""
    return [], function.__code__.co_firstlineno


def main() -> int:
    gc.set_threshold(GARBAGE)  # what a start makes stays: looking for garbage in it is in vain
    stand_ins = {ASKS_PACKAGES: without_plugins(), PROCESSES: processes_later(), BACKPORTS: None}
    sys.modules |= {**stand_ins, DEBUGGER: later(DEBUGGER)}  # type: ignore[dict-item] # None: there is no such module
    import msgspec  # noqa: F401 - for the steps, while it finds no backports
    from doit import loader
    from doit.doit_cmd import DoitMain

    loader.inspect = SimpleNamespace(**{**vars(loader.inspect), "getsourcelines": where_it_begins})

    for name in stand_ins:
        del sys.modules[name]  # whoever else asks gets the whole truth
    return int(DoitMain().run(sys.argv[1:]) or 0)


def end(status: int) -> None:
    """At once where nobody has anything to do at the end: to take everything apart in memory takes 10 ms."""
    waited_for = [thread for thread in threading.enumerate() if not thread.daemon]
    if len(waited_for) == 1 and atexit._ncallbacks() == 0:
        with suppress(OSError):  # whoever read it has gone: Python's own end has words for that
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    sys.exit(status)


def command() -> None:
    try:
        status = main()
    except SystemExit as wanted:
        if not isinstance(wanted.code, int):
            raise
        status = wanted.code
    end(status)


if __name__ == "__main__":
    command()
