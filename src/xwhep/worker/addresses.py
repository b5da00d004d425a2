"""Where the server was found last: new connections go there at once, the name is asked again only when nobody answers.

A name server that is silent for half a minute must not hold up a running grid. podman's is, for a container that asks
while another one joins its network: the bridge then takes a new hardware address (measured: 20 to 40 s). So the address
known last is not forgotten while the server is away, and the name server gets a moment to name another.
Who answers there is checked by certificate, so an address that has passed to somebody else is refused, not trusted.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Sequence

import urllib3
from urllib3.connection import HTTPSConnection

from xwhep.common.whereabouts import addresses_of

LOOKUP_S = 2.0
_UNREACHABLE = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


class _Lookup(threading.Thread):
    """One question. It cannot be broken off, so whoever asked may leave before it is answered."""

    def __init__(self, name: str, port: int, context: ssl.SSLContext) -> None:
        super().__init__(name=f"lookup-{name}", daemon=True)
        self._question = (name, port, context)
        self.found: list[str] = []
        self.error: OSError = socket.gaierror(socket.EAI_AGAIN, f"no name server answers within {LOOKUP_S:g} s")

    def run(self) -> None:
        try:
            self.found = addresses_of(*self._question)
        except OSError as exc:
            self.error = exc


class Addresses:
    """The last working address of each host name. Threads may share it: a lost update costs one more question."""

    def __init__(self) -> None:
        self._last: dict[str, str] = {}
        self._lock = threading.Lock()
        self._lookups: dict[str, _Lookup] = {}

    def connect(self, connection: KnownHostConnection) -> socket.socket:
        """A connected socket: to the address known last, else to what the name server says now, else to the server
        on the local network that answers to the name."""
        name = connection.host
        known = self._last.get(name)
        if known is None:
            sock = _first_of(connection, self._ask(connection, patience_s=None))
        else:
            try:
                return connection.connect_to(known)
            except _UNREACHABLE as exc:
                sock = self._elsewhere(connection, known, exc)
        self._last[name] = str(sock.getpeername()[0])
        return sock

    def _elsewhere(self, connection: KnownHostConnection, known: str, failure: Exception) -> socket.socket:
        """Where the host has moved to; `failure` when that is nowhere else."""
        others = [address for address in self._ask(connection, patience_s=LOOKUP_S) if address != known]
        if not others:
            raise failure
        try:
            return _first_of(connection, others)
        except _UNREACHABLE:
            raise failure from None

    def _ask(self, connection: KnownHostConnection, patience_s: float | None) -> list[str]:
        """All threads that ask at the same time wait for the same answer, which may come too late for them.

        Raises:
            NameResolutionError: there is none, or none yet.
        """
        name, context = connection.host, connection.ssl_context
        assert context is not None  # noqa: S101 - the pool gives it
        with self._lock:
            lookup = self._lookups.get(name)
            if lookup is None:
                lookup = self._lookups[name] = _Lookup(name, connection.port, context)
                lookup.start()
        lookup.join(patience_s)
        if not lookup.is_alive():
            with self._lock:
                if self._lookups.get(name) is lookup:
                    del self._lookups[name]
        if not lookup.found:
            raise urllib3.exceptions.NameResolutionError(name, connection, _resolution(lookup.error))
        return lookup.found


def _resolution(error: OSError) -> socket.gaierror:
    return error if isinstance(error, socket.gaierror) else socket.gaierror(socket.EAI_FAIL, str(error))


def _first_of(connection: KnownHostConnection, addresses: Sequence[str]) -> socket.socket:
    for address in addresses[:-1]:
        with contextlib.suppress(*_UNREACHABLE):
            return connection.connect_to(address)
    return connection.connect_to(addresses[-1])


class KnownHostConnection(HTTPSConnection):
    """A connection that asks `addresses` where its host is; the certificate is checked against the host's name."""

    addresses = Addresses()
    opened_at = 0.0  # by time.monotonic()

    def __repr__(self) -> str:
        """As urllib3's complaints quote it, which come into the log."""
        return f"{self.host}:{self.port}"

    def _new_conn(self) -> socket.socket:
        return self.addresses.connect(self)

    def connect_to(self, host: str) -> socket.socket:
        """Connect to `host` in place of this connection's own."""
        own, self._dns_host = self._dns_host, host
        try:
            return super()._new_conn()
        finally:
            self._dns_host = own
