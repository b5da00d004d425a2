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
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType, ModuleType, SimpleNamespace

ASKS_PACKAGES = "importlib.metadata"
GARBAGE = 50_000  # objects made before garbage is looked for
BACKPORTS = "typing_extensions"  # msgspec takes of it what Python's own typing has as well since 3.11
# Modules that are loaded for what most runs never do, until they do it: --pdb, a traceback, an archive, a long text.
LATER = ("bz2", "dbm", "hashlib", "inspect", "ipaddress", "lzma", "pdb", "pprint", "textwrap", "traceback")
# The same for what is taken out of a module by name while doit is loaded: functions and classes that are only called.
CALLED_LATER = {
    "configparser": ("ConfigParser",),
    "gettext": ("gettext", "ngettext"),
    "multiprocessing": ("Process", "Queue"),
    "pickle": ("dumps",),
}


def without_plugins() -> ModuleType:
    """What doit takes for importlib.metadata: it knows no package."""
    empty = ModuleType(ASKS_PACKAGES)
    empty.entry_points = lambda **chosen: ()  # type: ignore[attr-defined]
    return empty


def called_later(module: str, names: Iterable[str]) -> ModuleType:
    """What doit takes for a module: some of its names, which load it when they are called, and all others at once."""
    stand_in = later(module)
    for name in names:
        setattr(stand_in, name, partial(call_of, module, name))
    return stand_in


def call_of(module: str, name: str, *given: object, **named: object) -> object:
    return getattr(import_module(module), name)(*given, **named)


def own_system() -> ModuleType:
    """What uuid takes for platform, of which it wants one word."""
    stand_in = later("platform")
    stand_in.system = lambda: os.uname().sysname  # type: ignore[attr-defined]
    return stand_in


def later(name: str) -> ModuleType:
    """Stands for a module until something of it is used. (LazyLoader's would be loaded by whoever asks every module for
    its file.)"""

    def used(attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    stand_in = ModuleType(name)
    stand_in.__getattr__ = used  # type: ignore[method-assign]
    return stand_in


def looked_at(signature: Callable[..., object]) -> SimpleNamespace:
    """What doit wants of `inspect` to find tasks, which needs no function's text and nothing that takes it apart."""
    return SimpleNamespace(
        isbuiltin=lambda some: isinstance(some, BuiltinFunctionType),
        isclass=lambda some: isinstance(some, type),
        getmembers=lambda module: sorted(vars(module).items()),
        getsourcelines=lambda function: ([], function.__code__.co_firstlineno),  # doit wants the number alone
        isfunction=lambda some: isinstance(some, FunctionType),
        isgenerator=lambda some: isinstance(some, GeneratorType),
        ismethod=lambda some: isinstance(some, MethodType),
        ismodule=lambda some: isinstance(some, ModuleType),
        signature=signature,
    )


def named(function: Callable[..., object]) -> object:
    """A function's signature as far as doit looks at it here: the names of its parameters."""
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType) or hasattr(plain, "__wrapped__"):
        return call_of("inspect", "signature", function)
    code = plain.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return SimpleNamespace(parameters=dict.fromkeys(names[isinstance(function, MethodType) :]))


def main() -> int:
    gc.set_threshold(GARBAGE)  # what a start makes stays: looking for garbage in it is in vain
    stand_ins: dict[str, ModuleType | None] = {
        ASKS_PACKAGES: without_plugins(),
        BACKPORTS: None,  # there is no such module
        "platform": own_system(),
        **{module: called_later(module, names) for module, names in CALLED_LATER.items()},
    }
    sys.modules |= {**stand_ins, **{name: later(name) for name in LATER}}  # type: ignore[dict-item]
    import msgspec  # noqa: F401 - for the steps, while it finds no backports
    from doit import action, cmd_base, dependency, loader
    from doit.doit_cmd import DoitMain

    for user in (cmd_base, dependency, loader):
        user.inspect = looked_at(named)
    action.inspect = looked_at(partial(call_of, "inspect", "signature"))
    for name, module in stand_ins.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]  # whoever else asks gets the whole truth
    return int(DoitMain(config_filenames=()).run(sys.argv[1:]) or 0)


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
