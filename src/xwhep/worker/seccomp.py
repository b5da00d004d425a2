"""A filter of system calls: no user namespaces for a job, where the kernel's own limit cannot be set.

A program of classic BPF, as `bwrap --seccomp` reads it. Inside a user namespace a process has every capability, and
with them the parts of the kernel that have the most holes. clone3 hides its flags in memory that a filter cannot read:
it answers ENOSYS, on which the C library uses clone.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_FIRST_ARGUMENT = 0, 4, 16  # of struct seccomp_data; the low half of an argument
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NEW_USER_NAMESPACE = 0x10000000
_X32_BIT = 0x40000000  # the second table of system calls of x86_64


@dataclass(frozen=True, kw_only=True)
class _Machine:
    audit: int
    clone: int
    unshare: int
    setns: int
    clone3: int = 435


_MACHINES = {
    "x86_64": _Machine(audit=0xC000003E, clone=56, unshare=272, setns=308),
    "aarch64": _Machine(audit=0xC00000B7, clone=220, unshare=97, setns=268),
}


def program(arch: str | None = None) -> bytes | None:
    """The filter for an architecture as `platform.machine` says it; None for one that is not known here."""
    machine = _MACHINES.get(arch or platform.machine())
    if machine is None:
        return None
    steps = [
        _step(_LOAD, _OFFSET_ARCH),
        _step(_EQUAL, machine.audit, 1, 0),
        _step(_RETURN, _KILL),  # 32-bit programs have other numbers
        _step(_LOAD, _OFFSET_NUMBER),
        _step(_ANY_BIT, _X32_BIT, 0, 1),
        _step(_RETURN, _KILL),
        _step(_EQUAL, machine.clone3, 0, 1),
        _step(_RETURN, _ERRNO | errno.ENOSYS),
        _step(_EQUAL, machine.setns, 0, 1),
        _step(_RETURN, _ERRNO | errno.EPERM),
        _step(_EQUAL, machine.clone, 2, 0),
        _step(_EQUAL, machine.unshare, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _OFFSET_FIRST_ARGUMENT),
        _step(_ANY_BIT, _NEW_USER_NAMESPACE, 0, 1),
        _step(_RETURN, _ERRNO | errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(steps)


def _step(code: int, value: int, when_true: int = 0, when_false: int = 0) -> bytes:
    """One struct sock_filter: what to do, and how many steps to skip after a comparison."""
    return struct.pack("=HBBI", code, when_true, when_false, value)
