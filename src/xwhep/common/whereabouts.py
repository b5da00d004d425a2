"""Where a server is: what the name server says, or who answers to the name on the local network.

A name server that knows nothing may take seconds to say so, or be out of reach: the network is asked meanwhile. Import
costs little: every start of xw pays for it.
"""

from __future__ import annotations

import socket
import ssl
import threading

PATIENCE_S = 0.3


def plain(name: str) -> str | bytes:
    """`name` so that Python does not load its tables of international names for one that needs none."""
    return name.encode("ascii") if name.isascii() else name


class _Lookup(threading.Thread):
    def __init__(self, name: str, port: int) -> None:
        super().__init__(daemon=True)  # one that hangs keeps no program from ending
        self._asked = plain(name), port
        self.found: list[str] = []
        self.failure: OSError | None = None

    def run(self) -> None:
        try:
            answers = socket.getaddrinfo(*self._asked, type=socket.SOCK_STREAM)
            self.found = [str(answer[4][0]) for answer in answers]
        except OSError as exc:
            self.failure = exc
        except UnicodeError as exc:  # a name that no name server could know
            self.failure = socket.gaierror(socket.EAI_NONAME, str(exc))


def addresses_of(name: str, port: int, context: ssl.SSLContext) -> list[str]:
    """At least one, in the order to try them; `context` is what the server proves its name by.

    Raises:
        socket.gaierror: neither knows the name.
    """
    lookup = _Lookup(name, port)
    lookup.start()
    lookup.join(PATIENCE_S)
    if not lookup.found:
        from xwhep.common.discovery import find  # noqa: PLC0415 - hardly anyone needs it

        address = find(name, port, context)
        if address is not None and not lookup.found:
            return [address]
        lookup.join()
    if lookup.failure is not None:
        raise lookup.failure
    return lookup.found


def connect(name: str, port: int, context: ssl.SSLContext, timeout_s: float) -> ssl.SSLSocket:
    """A connection whose other end has proved to be `name`.

    Raises:
        OSError: nobody is there; an ssl.SSLError when somebody else is.
    """
    failure: OSError | None = None
    for address in addresses_of(name, port, context):
        try:
            raw = socket.create_connection((plain(address), port), timeout_s)  # type: ignore[arg-type] # bytes too
        except OSError as exc:
            failure = exc
            continue
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(raw, server_hostname=plain(name))
    assert failure is not None  # noqa: S101 - there was at least one address
    raise failure
