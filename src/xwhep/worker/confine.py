"""A program of its own: `python -I -S confine.py SPEC COMMAND...` gives up most rights for ever, then becomes COMMAND.

For jobs without bubblewrap that run as the worker's own user: by Landlock they can read the system and write their
own folder, and nothing else; above all they cannot read the worker's token. Where the kernel knows how (6.7, 6.12),
they have no TCP and cannot signal processes outside. SPEC is JSON: {"read": [paths], "write": [paths]}; absent paths
are skipped.

Exit code 125: the kernel cannot do it, and COMMAND was not started. It imports nothing of the project: it starts for
each job.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same numbers on every architecture
_VERSION_QUERY = 1
_PATH_BENEATH = 1
FAILED = 125

# Rights of files and folders, by bit: 0 execute, 1 write file, 2 read file, 3 read folder, 4-12 remove and make
# entries, 13 move between folders (version 2), 14 truncate (3), 15 device controls (5).
_FS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_FS_BITS_NEWEST = 16
_READ = 0b1101
_OF_FILES = 0b1100000000000111  # what a rule on a single file may grant
_TCP = 0b11  # bind, connect (version 4)
_SCOPES = 0b11  # abstract sockets, signals (version 6)


class _Ruleset(ctypes.Structure):
    _fields_ = [("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _Rule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def supported() -> int:
    """The version of Landlock that this kernel speaks.

    Raises:
        OSError: none.
    """
    return _call(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_QUERY))


def confine(read: list[str], write: list[str]) -> None:
    """Give up everything but reading `read` and writing `write`. The process must have set no_new_privs.

    Raises:
        OSError: the kernel cannot.
    """
    version = supported()
    handled = (1 << _FS_BITS.get(version, _FS_BITS_NEWEST)) - 1
    rules = _Ruleset(handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = _call(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    for path in read:
        _allow(ruleset, path, _READ)
    for path in write:
        _allow(ruleset, path, handled)
    _call(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # absent here, or not for this user anyway
    if not os.path.isdir(path):  # noqa: PTH112 - pathlib would double the time this program takes
        rights &= _OF_FILES
    rule = _Rule(rights, descriptor)
    _call(_ADD, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
    os.close(descriptor)


if __name__ == "__main__":
    try:
        spec = json.loads(sys.argv[1])
        confine(spec["read"], spec["write"])
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - this is its purpose
    except OSError as exc:
        sys.stderr.write(f"cannot confine or start {sys.argv[2]}: {exc}\n")
        sys.exit(FAILED)
