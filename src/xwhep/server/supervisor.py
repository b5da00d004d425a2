"""Telling systemd, or who else started the server in its manner, that it is ready and that it stops: sd_notify(3)."""

from __future__ import annotations

import os
import socket

from xwhep.server.logs import log_problem

VARIABLE = "NOTIFY_SOCKET"
READY, STOPPING = "READY=1", "STOPPING=1"


def tell_supervisor(state: str) -> None:
    """One datagram to the socket that the environment names; nothing when nobody asked for it."""
    address = os.environ.get(VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):  # an abstract name: no file, so containers and other roots reach it too
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
    except OSError as exc:  # a server that works is worth more than one that is known to
        log_problem("cannot tell the supervisor", state=state, socket=os.environ[VARIABLE], error=exc)
