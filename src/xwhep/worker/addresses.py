"""Where the server was found last: new connections go there at once, the name is asked again only when nobody answers.

A name server that is silent for half a minute must not hold up a running grid. podman's is, for a container that asks
while another one joins its network: the bridge then takes a new hardware address (measured: 20 to 40 s). Who answers
there is checked by certificate, so an address that has passed to somebody else is refused, not trusted.
"""

from __future__ import annotations

import contextlib
import socket

import urllib3
from urllib3.connection import HTTPSConnection

from xwhep.common.whereabouts import addresses_of

_UNREACHABLE = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


class Addresses:
    """The last working address of each host name. Threads may share it: a lost update costs one more question."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}

    def connect(self, connection: KnownHostConnection) -> socket.socket:
        """A connected socket: to the address known last, else to what the name server says now, else to the server
        on the local network that answers to the name."""
        name = connection.host
        if known := self._last.get(name):
            with contextlib.suppress(*_UNREACHABLE):
                return connection.connect_to(known)
            self._last.pop(name, None)
        sock = _first_of(connection)
        self._last[name] = str(sock.getpeername()[0])
        return sock


def _first_of(connection: KnownHostConnection) -> socket.socket:
    assert connection.ssl_context is not None  # noqa: S101 - the pool gives it
    try:
        addresses = addresses_of(connection.host, connection.port, connection.ssl_context)
    except socket.gaierror as exc:
        raise urllib3.exceptions.NameResolutionError(connection.host, connection, exc) from exc
    for address in addresses[:-1]:
        with contextlib.suppress(*_UNREACHABLE):
            return connection.connect_to(address)
    return connection.connect_to(addresses[-1])


class KnownHostConnection(HTTPSConnection):
    """A connection that asks `addresses` where its host is; the certificate is checked against the host's name."""

    addresses = Addresses()

    def _new_conn(self) -> socket.socket:
        return self.addresses.connect(self)

    def connect_to(self, host: str) -> socket.socket:
        """Connect to `host` in place of this connection's own."""
        own, self._dns_host = self._dns_host, host
        try:
            return super()._new_conn()
        finally:
            self._dns_host = own
