"""Finding a server by its name on the local network, where no name server knows it (docker's default bridge).

    worker, client ── UDP broadcast "xwhep-find-1 NONCE NAME" ──► the server's port number, at everyone
                   ◄── "xwhep-here-1 NONCE" ── the server that is called so; never longer than the question
                   ── TLS to the answer's sender, its certificate checked by authority and NAME

So who lies gains nothing: an answer is believed when the certificate behind it is right. IPv4 only: IPv6 knows no
broadcast.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import re
import secrets
import select
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator
from itertools import islice

MAX_QUESTION_BYTES = 12 + 1 + 32 + 1 + 253
ASK_AT_S = (0.0, 0.15, 0.4)  # a datagram may be lost
WAIT_S = 1.0
PROOF_TIMEOUT_S = 2.0
MAX_CANDIDATES = 8
_QUESTION = re.compile(rb"xwhep-find-1 ([0-9a-f]{32}) ([A-Za-z0-9._-]{1,253})")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,253}")
_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B


def answer_to(datagram: bytes, names: Iterable[str]) -> bytes | None:
    """What a server called `names` says to a datagram; nothing when it is no question, or for somebody else."""
    asked = _QUESTION.fullmatch(datagram)
    if not asked or asked[2].decode().lower() not in {name.lower() for name in names}:
        return None
    return _answer(asked[1])


def find(name: str, port: int, context: ssl.SSLContext) -> str | None:
    """The address of the server on this network that proves by `context` to be `name`; None when there is none."""
    if not _NAME.fullmatch(name):
        return None
    candidates = islice(_answers(name, port), MAX_CANDIDATES)
    return next((address for address in candidates if _proves(address, (name, port), context)), None)


def _answers(name: str, port: int) -> Iterator[str]:
    """Whoever answers to `name`, each address once, until WAIT_S are over."""
    nonce = secrets.token_hex(16).encode()
    question, heard, ask_at = b"xwhep-find-1 %s %s" % (nonce, name.encode()), set(), list(ASK_AT_S)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setblocking(False)
        start = time.monotonic()
        while (passed := time.monotonic() - start) < WAIT_S:
            if ask_at and passed >= ask_at[0]:
                ask_at.pop(0)
                _broadcast(sock, question, port)
            select.select([sock], [], [], max(0.0, (ask_at[0] if ask_at else WAIT_S) - passed))
            for address in _received(sock, _answer(nonce), port):
                if address not in heard:
                    heard.add(address)
                    yield address


def _answer(nonce: bytes) -> bytes:
    return b"xwhep-here-1 " + nonce


def _received(sock: socket.socket, expected: bytes, port: int) -> Iterator[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            datagram, (address, sender_port) = sock.recvfrom(MAX_QUESTION_BYTES)
            if datagram == expected and sender_port == port:
                yield address


def _broadcast(sock: socket.socket, question: bytes, port: int) -> None:
    for address in broadcast_addresses():
        with contextlib.suppress(OSError):  # an interface that is down, a firewall: the others may do
            sock.sendto(question, (address, port))


def broadcast_addresses() -> list[str]:
    """That of each interface; the loopback's too, since the server may be on this very machine."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, interface in socket.if_nameindex():
            with contextlib.suppress(OSError, ValueError):  # an interface without an IPv4 address
                address, mask = (_ask_interface(probe, what, interface) for what in (_SIOCGIFADDR, _SIOCGIFNETMASK))
                network = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
                if network.num_addresses > 2:
                    found.append(str(network.broadcast_address))
    return found


def _ask_interface(probe: socket.socket, what: int, interface: str) -> str:
    answer = fcntl.ioctl(probe.fileno(), what, struct.pack("256s", interface.encode()[:15]))
    return socket.inet_ntoa(answer[20:24])


def _proves(address: str, server: tuple[str, int], context: ssl.SSLContext) -> bool:
    name, port = server
    try:
        with (
            socket.create_connection((address, port), PROOF_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=name),
        ):
            return True
    except OSError:  # nobody there, or a certificate of somebody else: ssl's errors are OSErrors
        return False
