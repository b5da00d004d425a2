"""The server's side of discovery: it answers those who look for one of its names. See xwhep/common/discovery.py."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable
from typing import cast

from xwhep.common.discovery import MAX_QUESTION_BYTES, answer_to
from xwhep.server.logs import log_event, log_problem
from xwhep.server.settings import Settings
from xwhep.server.throttle import Rate, Throttle

PER_ADDRESS = Rate(burst=20, per_s=5)
TOGETHER = Rate(burst=200, per_s=100)  # senders are easily forged: their number must not count


class Responder(asyncio.DatagramProtocol):
    """Answers are shorter than questions, and few: nobody can be flooded by asking in his name."""

    _transport: asyncio.DatagramTransport

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(name.lower() for name in names)
        self._each = Throttle(PER_ADDRESS, time.monotonic)
        self._all = Throttle(TOGETHER, time.monotonic)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is none by name

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = answer_to(data, self._names) if len(data) <= MAX_QUESTION_BYTES else None
        if answer is None or self._all.wait_s("") or self._each.wait_s(addr[0]):
            return
        with contextlib.suppress(OSError):  # a sender of port 0, or a network that is just gone
            self._transport.sendto(answer, addr)


async def open_responder(settings: Settings, port: int) -> asyncio.BaseTransport | None:
    """Answer at UDP `port` until the transport is closed; None when that is not wanted, or not possible."""
    if not settings.discovery:
        return None
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.bind(("0.0.0.0", port))  # noqa: S104 - a socket that is bound to one address hears no broadcasts
    except OSError as error:
        sock.close()
        log_problem("cannot be discovered by name", port=port, error=error)
        return None
    names = settings.name or (socket.gethostname(),)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: Responder(names), sock=sock)
    log_event("can be discovered by name", names=",".join(names), port=port)
    return transport
