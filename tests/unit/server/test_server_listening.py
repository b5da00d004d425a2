"""Where the server listens: IPv4 and IPv6, and each role over IPv6 alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from live_server import SOURCE, LiveServer
from worker_command import Command, until
from xwhep.server import listening
from xwhep.server.failures import AddressUnusable, PortTaken
from xwhep.server.listening import listening_sockets, shown_addresses
from xwhep.server.throttle import sender_of


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


@needs_ipv6
def test_without_an_address_it_is_both_families_on_one_port(opened: list[socket.socket]) -> None:
    opened += listening_sockets(("", 0))
    port = opened[0].getsockname()[1]
    assert shown_addresses(opened) == f"0.0.0.0:{port},[::]:{port}"
    for sock, address in zip(opened, ("127.0.0.1", "::1"), strict=True):
        sock.listen()
        with socket.create_connection((address, port), 5), closing(_accepted(sock)) as accepted:
            assert accepted.getpeername()[0] == address  # not ::ffff:127.0.0.1


def _accepted(sock: socket.socket) -> socket.socket:
    sock.setblocking(True)
    return sock.accept()[0]


def test_an_address_is_that_one_alone(opened: list[socket.socket]) -> None:
    opened += listening_sockets(("127.0.0.1", 0))
    assert [sock.family for sock in opened] == [socket.AF_INET]


def test_a_machine_without_ipv6_listens_at_ipv4(opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def without_ipv6(family: int = -1, *words: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *words)

    monkeypatch.setattr(listening.socket, "socket", without_ipv6)
    opened += listening_sockets(("", 0))
    assert [sock.family for sock in opened] == [socket.AF_INET]
    with pytest.raises(AddressUnusable, match=r"\[::1\]:0"):
        listening_sockets(("::1", 0))


@needs_ipv6
def test_a_port_that_is_taken_in_one_family_is_taken(opened: list[socket.socket]) -> None:
    opened += listening_sockets(("::1", 0))
    opened[0].listen()
    port = opened[0].getsockname()[1]
    with pytest.raises(PortTaken, match=f":{port}"):
        listening_sockets(("", port))
    with socket.socket() as probe:  # and IPv4's, which was bound first, is free again
        probe.bind(("0.0.0.0", port))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "unknown", False),
    ],
)
def test_throttles_count_a_network_of_ipv6_as_one(one: str, other: str, same: bool) -> None:
    assert (sender_of(one) == sender_of(other)) is same


@needs_ipv6
def test_a_job_over_ipv6_alone(stopped: LiveServer, fast_folder: Path) -> None:
    """Client and worker join by a literal address, which the server's certificate names."""
    stopped.start("--listen", "[::1]:0")
    assert f"listen=[::1]:{stopped.port}" in stopped.log()
    address = f"[::1]:{stopped.port}"
    fast_folder.chmod(0o711)  # as root, jobs run as another user
    (fast_folder / "worker").mkdir()
    worker = Command(fast_folder / "worker")
    line = stopped.run_command("join-line", "worker", "--address", address).stdout.split("'")[1]
    assert f" https://{address} " in line
    worker.start(XWHEP_JOIN=line, XWHEP_WORKER_ISOLATION="process")
    try:
        until(lambda: f"serves https://{address}" in worker.logged(), 20)
        line = stopped.run_command("join-line", "client", "--address", address).stdout.split("'")[1]
        assert xw(fast_folder, "login", text=line)
        program = fast_folder / "hello"
        program.write_text('#!/bin/sh\necho "hello $1"\n')
        xw(fast_folder, "app", "register", "hello", str(program))
        assert "hello six" in xw(fast_folder, "job", "submit", "hello", "--wait", "--", "six")
    finally:
        worker.running[0].terminate()
        worker.running[0].wait(20)
    enrolled = next(text for text in stopped.log().splitlines() if "worker enrolled" in text)
    assert enrolled.endswith("address=::1")


def xw(home: Path, *words: str, text: str = "") -> str:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), "HOME": str(home)}
    argv = [sys.executable, "-m", "xwhep.client.main", *words]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
