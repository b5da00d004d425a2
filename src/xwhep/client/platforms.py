"""Which machines run a program, read from its first bytes."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER_BYTES = 64

# e_machine of ELF headers -> what platform.machine() says there
_ELF_MACHINES = {
    3: "i686",
    20: "ppc",
    22: "s390x",
    40: "armv7l",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_ELF_PPC64 = 21
_ELF_FREEBSD = 9


class Platform(NamedTuple):
    os: str
    arch: str


def of_program(head: bytes) -> Platform | None:
    """The platform of the program that starts with `head` (64 bytes are enough); None when it does not say.

    A script (#!) runs on any architecture.
    """
    if head.startswith(b"#!"):
        return Platform("linux", "any")
    if head.startswith(b"\x7fELF") and len(head) >= 20:
        little = head[5] == 1
        (machine,) = struct.unpack_from("<H" if little else ">H", head, 18)
        arch = ("ppc64le" if little else "ppc64") if machine == _ELF_PPC64 else _ELF_MACHINES.get(machine)
        return Platform("freebsd" if head[7] == _ELF_FREEBSD else "linux", arch) if arch else None
    return None
