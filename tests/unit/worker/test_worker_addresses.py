"""The address book: a silent name server holds nothing up, a moved server is found again."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import urllib3
from urllib3.util import connection as urllib3_connection

from xwhep.worker import addresses as addresses_module
from xwhep.worker.addresses import Addresses, KnownHostConnection


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every host that was looked up; only grid.test and numbers have an address."""
    questions: list[str] = []
    real = socket.getaddrinfo

    def answer(asked: str | bytes, *rest: object, **more: object) -> list[object]:
        host = text(asked)
        questions.append(host)
        if host == "grid.test":
            host = "127.0.0.1"
        elif not host[0].isdigit():
            raise socket.gaierror(socket.EAI_AGAIN, "silent")
        return list(real(host, *rest, **more))

    monkeypatch.setattr(urllib3_connection.socket, "getaddrinfo", answer)
    return questions


def text(host: str | bytes) -> str:
    return host.decode() if isinstance(host, bytes) else host


def connection_to(port: int, addresses: Addresses) -> KnownHostConnection:
    class Own(KnownHostConnection):
        pass

    Own.addresses = addresses
    return Own("grid.test", port, timeout=2, ssl_context=ssl.create_default_context())


def test_second_connection_asks_no_name_server(listener: socket.socket, asked: list[str]) -> None:
    addresses, port = Addresses(), listener.getsockname()[1]
    for _ in range(2):
        connection_to(port, addresses)._new_conn().close()
    assert asked == ["grid.test", "127.0.0.1", "127.0.0.1"]  # numbers cost no question


def test_host_stays_the_name_that_the_certificate_is_checked_against(listener: socket.socket, asked: list[str]) -> None:
    addresses = Addresses()
    for _ in range(2):
        connection = connection_to(listener.getsockname()[1], addresses)
        connection._new_conn().close()
        assert connection.host == "grid.test"


def test_a_server_that_moved_is_looked_up_again(listener: socket.socket, asked: list[str]) -> None:
    addresses = Addresses()
    addresses._last["grid.test"] = "127.0.0.2"  # nobody listens there
    connection_to(listener.getsockname()[1], addresses)._new_conn().close()
    assert asked == ["127.0.0.2", "grid.test", "127.0.0.1"]
    assert addresses._last == {"grid.test": "127.0.0.1"}


def test_a_server_that_restarts_is_found_where_it_was(listener: socket.socket, asked: list[str]) -> None:
    """While it is away its address stays known: what the name server says then may come late, or be nothing."""
    addresses, port = Addresses(), listener.getsockname()[1]
    connection_to(port, addresses)._new_conn().close()
    listener.close()
    with pytest.raises(urllib3.exceptions.NewConnectionError):
        connection_to(port, addresses)._new_conn()
    assert addresses._last == {"grid.test": "127.0.0.1"}
    with socket.create_server(("127.0.0.1", port)):
        asked.clear()
        connection_to(port, addresses)._new_conn().close()
    assert asked == ["127.0.0.1"]


def test_a_silent_name_server_keeps_nobody_waiting(
    listener: socket.socket, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that ask meanwhile share one question; its late answer serves the next that asks."""
    answered, looking_up = threading.Event(), socket.getaddrinfo

    def silent(host: str | bytes, *rest: object, **more: object) -> list[object]:
        if text(host) == "grid.test":
            answered.wait(30)
        return list(looking_up(host, *rest, **more))

    monkeypatch.setattr(urllib3_connection.socket, "getaddrinfo", silent)
    monkeypatch.setattr(addresses_module, "LOOKUP_S", 0.05)
    addresses, port = Addresses(), listener.getsockname()[1]
    addresses._last["grid.test"] = "127.0.0.2"
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(urllib3.exceptions.NameResolutionError):
            connection_to(port, addresses)._new_conn()
    assert time.monotonic() - started < 10
    lookup = addresses._lookups["grid.test"]
    answered.set()
    lookup.join(10)
    connection_to(port, addresses)._new_conn().close()
    assert asked.count("grid.test") == 1
    assert addresses._lookups == {}


def test_a_name_that_is_gone_is_said_so(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses_module, "LOOKUP_S", 30)

    class Gone(KnownHostConnection):
        addresses = Addresses()

    Gone.addresses._last["gone.test"] = "127.0.0.2"
    for _ in range(2):
        with pytest.raises(urllib3.exceptions.NameResolutionError, match=r"^gone\.test:9: Failed to resolve"):
            Gone("gone.test", 9, timeout=2, ssl_context=ssl.create_default_context())._new_conn()
    assert asked.count("gone.test") == 2
