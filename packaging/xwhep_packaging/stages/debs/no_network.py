"""Run a command in a network namespace that holds nothing, and write down which names it asks for.

lo up ──> name server on 127.0.0.1:53, which knows nobody ──> COMMAND
                  └── "no network: asked for HOST" on standard error, which is the build's log

A script of its own, started as root under `unshare --net`. An empty resolv.conf makes the C library ask 127.0.0.1.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from collections.abc import Sequence

ASKED = "no network: asked for "
DNS = ("127.0.0.1", 53)
HEADER_BYTES = 12
LARGEST_QUERY_BYTES = 4096
REFUSED = 0x8005  # an answer, and its status: programs say that the resolution failed for now
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
PR_SET_PDEATHSIG = 1


def name_asked(query: bytes) -> str:
    """The name in a DNS query; empty when it is none."""
    labels, position = [], HEADER_BYTES
    while position < len(query) and query[position]:
        length = query[position]
        labels.append(query[position + 1 : position + 1 + length].decode("ascii", "replace"))
        position += 1 + length
    return ".".join(labels)


def refusal(query: bytes) -> bytes:
    """The answer to a query: the question again, refused."""
    return query[:2] + struct.pack(">H", REFUSED) + query[4:6] + bytes(6) + query[HEADER_BYTES:]


def answer(server: socket.socket, said: int) -> None:
    """Refuse every query, and say each name once; ends with the process that started it."""
    known = set()
    while True:
        query, client = server.recvfrom(LARGEST_QUERY_BYTES)
        name = name_asked(query)
        if name and name not in known:
            known.add(name)
            os.write(said, f"{ASKED}{name}\n".encode())
        server.sendto(refusal(query), client)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def main(argv: Sequence[str]) -> None:
    _raise_loopback()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(DNS)
    parent = os.getpid()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # else it went before it could be watched
            answer(server, 2)
        os._exit(0)
    server.close()
    os.execvp(argv[0], list(argv))  # noqa: S606 - the build takes this process's place


if __name__ == "__main__":
    main(sys.argv[1:])
