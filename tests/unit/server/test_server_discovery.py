"""The server's answers to those who look for it by name."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest

from deployed import Deployed
from xwhep.common.discovery import find
from xwhep.common.trust import client_context
from xwhep.server.discovery import PER_ADDRESS, TOGETHER, Responder

NONCE = b"0123456789abcdef" * 2
QUESTION = b"xwhep-find-1 " + NONCE + b" grid.test"


class Wire(asyncio.DatagramTransport):
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, tuple[str, int]]] = []

    def sendto(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr[1] == 0:
            raise OSError(22, "no such port")
        self.sent.append((data, addr))


@pytest.fixture
def responder() -> tuple[Responder, Wire]:
    wire, made = Wire(), Responder(["Grid.Test", "other"])
    made.connection_made(wire)
    return made, wire


def test_an_answer_goes_to_who_asked(responder) -> None:
    made, wire = responder
    made.datagram_received(QUESTION, ("192.0.2.1", 9))
    assert wire.sent == [(b"xwhep-here-1 " + NONCE, ("192.0.2.1", 9))]


def test_one_address_gets_few_answers_and_all_together_not_many(responder) -> None:
    made, wire = responder
    for _ in range(1000):
        made.datagram_received(QUESTION, ("192.0.2.1", 9))
    assert PER_ADDRESS.burst <= len(wire.sent) <= PER_ADDRESS.burst + 10
    for number in range(5000):
        made.datagram_received(QUESTION, (f"198.51.{number // 250}.{number % 250}", 9))
    assert len(wire.sent) <= TOGETHER.burst + 100


def test_a_forged_sender_does_no_harm(responder) -> None:
    made, wire = responder
    made.datagram_received(QUESTION, ("192.0.2.1", 0))
    made.datagram_received(QUESTION, ("192.0.2.2", 9))
    assert len(wire.sent) == 1


def start(stopped, *flags: str):
    stopped.start("--name", "grid.test", *flags)
    return client_context(stopped.state / "ca.pem")


def test_a_server_is_found_by_its_name_whatever_else_it_is_sent(stopped) -> None:
    context = start(stopped, "--discovery", "true")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as villain:
        for size in (0, 1, 13, 46, 300, 9000, 60000):
            villain.sendto(os.urandom(size), ("127.0.0.1", stopped.port))
            villain.sendto(QUESTION[:size], ("127.0.0.1", stopped.port))
    assert find("grid.test", stopped.port, context) == "127.0.0.1"
    assert find("other.test", stopped.port, context) is None


def test_without_the_setting_it_keeps_silent(stopped) -> None:
    context = start(stopped)
    assert find("grid.test", stopped.port, context) is None


def test_a_taken_udp_port_keeps_no_server_from_starting(stopped) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 0))
        stopped.port = taken.getsockname()[1]
        start(stopped, "--discovery", "true")
    assert "cannot be discovered" in stopped.log()
    assert stopped.api().get("/healthz").status == 200


def test_a_deployed_grid_needs_no_name_server(stopped, fast_folder) -> None:
    """Server, worker and client, bound by their packages' files alone; nobody knows where xwserver.test is."""
    deployed = Deployed(fast_folder / "etc")
    toml = deployed.server / "server.toml"
    deployed.write(toml, toml.read_text() + "discovery = true\n")
    stopped.start("--deployment", str(deployed.server))
    deployed.bind(stopped.port)
    environment = stopped.environment() | {
        "RES_OPTIONS": "timeout:1 attempts:1",
        "HOME": str(fast_folder),
        "XWHEP_WORKER_STATE": str(fast_folder / "worker"),
        "XWHEP_WORKER_DEPLOYMENT": str(deployed.worker),
        "XWHEP_CLIENT_CONFIG": str(fast_folder / "none.toml"),
        "XWHEP_CLIENT_DEPLOYMENT": str(deployed.client),
    }

    def xw(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "xwhep.client.main", *words]
        return subprocess.run(
            argv, env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=True
        )

    worker = subprocess.Popen(
        [sys.executable, "-m", "xwhep.worker.main", "run"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        xw("login", "--user", "boss", stdin="password of boss\n")
        until = time.monotonic() + 20
        while "idle" not in (listed := xw("worker", "list").stdout):
            assert time.monotonic() < until, listed
    finally:
        worker.terminate()
        worker.wait(20)
