"""The filter as the kernel would run it: an interpreter of the few instructions it uses."""

import errno
import struct

import pytest

from xwhep.worker import seccomp

ALLOW, KILL = "allow", "kill"
X86, ARM = 0xC000003E, 0xC00000B7
NEW_USER, NEW_PID, THREAD = 0x10000000, 0x20000000, 0x3D0F00


def verdict(arch: str, audit: int, number: int, first: int = 0) -> object:
    """What the kernel would do: "allow", "kill", or the errno it answers."""
    program = seccomp.program(arch)
    assert program is not None
    steps = list(struct.iter_unpack("=HBBI", program))
    data = struct.pack("=IIQQ", number, audit, 0, first)
    at = value = 0
    while True:
        code, when_true, when_false, k = steps[at]
        at += 1
        if code == 0x20:
            value = struct.unpack_from("=I", data, k)[0]
        elif code == 0x06:
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(k, k & 0xFFFF)
        else:
            holds = value == k if code == 0x15 else bool(value & k)
            assert code in (0x15, 0x45)
            at += when_true if holds else when_false


@pytest.mark.parametrize(
    ("arch", "audit", "clone", "unshare", "setns"),
    [("x86_64", X86, 56, 272, 308), ("aarch64", ARM, 220, 97, 268)],
)
def test_user_namespaces_are_refused_and_the_rest_goes_on(arch, audit, clone, unshare, setns) -> None:
    for number in (clone, unshare):
        assert verdict(arch, audit, number, NEW_USER) == errno.EPERM
        assert verdict(arch, audit, number, NEW_USER | NEW_PID) == errno.EPERM
        assert verdict(arch, audit, number, THREAD) == ALLOW
    assert verdict(arch, audit, setns) == errno.EPERM
    assert verdict(arch, audit, 435) == errno.ENOSYS
    assert [verdict(arch, audit, number) for number in (0, 1, 2, 59, 221)] == [ALLOW] * 5


def test_system_calls_of_another_table_have_no_way_around() -> None:
    assert verdict("x86_64", 0x40000003, 120) == KILL  # clone of 32-bit programs
    assert verdict("x86_64", X86, 0x40000000 | 56, NEW_USER) == KILL


def test_an_unknown_machine_has_no_filter() -> None:
    assert seccomp.program("riscv64") is None
