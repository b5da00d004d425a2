"""The sockets that the server listens at: one for each address that `listen` stands for, IPv4 and IPv6 apart.

One IPv6 socket for both would show IPv4 callers as ::ffff:192.0.2.1, in logs, throttles and the loopback's rights.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import Any

from xwhep.server.failures import AddressUnusable, PortTaken

_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a machine without IPv6, or with it switched off


def listening_sockets(address: tuple[str, int]) -> list[socket.socket]:
    """At least one; no host means all addresses. Port 0 is one free port, the same for all.

    What a name also stands for and this machine has not is left out.

    Raises: PortTaken, AddressUnusable
    """
    sockets: list[socket.socket] = []
    shown = _shown(address)
    try:
        _bind_each(address, sockets)
    except OSError as exc:
        for sock in sockets:
            sock.close()
        if exc.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"another program listens at {shown}", "stop it, or choose another port with --listen"
            ) from exc
        raise AddressUnusable(f"cannot listen at {shown}: {exc.strerror or exc}", "choose another --listen") from exc
    return sockets


def shown_addresses(sockets: Sequence[socket.socket]) -> str:
    """As the log says them: 0.0.0.0:4321,[::]:4321."""
    return ",".join(_shown(sock.getsockname()) for sock in sockets)


def _bind_each(address: tuple[str, int], sockets: list[socket.socket]) -> None:
    host, port = address
    absent: OSError | None = None
    for family, numeric in _resolved(host, port):
        try:
            sockets.append(_bound(family, numeric, port or _port_of(sockets)))
        except OSError as exc:
            if exc.errno not in _ABSENT:
                raise
            absent = exc
    if absent is not None and not sockets:
        raise absent


def _resolved(host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
    answers = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in answers))


def _bound(family: socket.AddressFamily, numeric: Any, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((numeric[0], port, *numeric[2:]))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _port_of(sockets: Sequence[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1]) if sockets else 0


def _shown(address: Sequence[str | int]) -> str:
    host, port = str(address[0]), address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
