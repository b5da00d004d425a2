"""What systemd hears of the server, on a real datagram socket."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from live_server import LiveServer

HEARD_WITHIN_S = 20.0


@contextmanager
def supervisor(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + address[1:] if address.startswith("@") else address)
        sock.settimeout(HEARD_WITHIN_S)
        yield sock


@pytest.mark.parametrize("abstract", [False, True], ids=["file", "abstract"])
def test_ready_is_said_when_it_answers_and_stopping_when_it_stops(
    stopped: LiveServer, monkeypatch: pytest.MonkeyPatch, fast_folder: Path, abstract: bool
) -> None:
    address = f"@xwhep-test-{secrets.token_hex(8)}" if abstract else str(fast_folder / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with supervisor(address) as sock:
        stopped.start()
        assert sock.recv(100) == b"READY=1"
        assert stopped.api().get("/readyz").status == 200
        assert stopped.stop() == 0
        assert sock.recv(100) == b"STOPPING=1"
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(100)


def test_ready_is_not_said_before_the_socket_listens(
    stopped: LiveServer, monkeypatch: pytest.MonkeyPatch, fast_folder: Path
) -> None:
    """The port is chosen beforehand, and tried in the very moment of the word."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        stopped.port = probe.getsockname()[1]
    monkeypatch.setenv("NOTIFY_SOCKET", str(fast_folder / "notify"))
    with supervisor(str(fast_folder / "notify")) as sock:
        process = stopped.launch()
        assert sock.recv(100) == b"READY=1"
        socket.create_connection(("127.0.0.1", stopped.port), HEARD_WITHIN_S).close()
        assert process.poll() is None


def test_a_server_that_cannot_start_is_never_ready(
    stopped: LiveServer, monkeypatch: pytest.MonkeyPatch, fast_folder: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(fast_folder / "notify"))
    stopped.state.mkdir(mode=0o700)
    stopped.state.joinpath("xwhep.db").write_bytes(b"no database" * 1000)
    with supervisor(str(fast_folder / "notify")) as sock:
        assert stopped.launch().wait(HEARD_WITHIN_S) != 0
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(100)


def test_a_supervisor_that_is_gone_stops_no_server(
    stopped: LiveServer, monkeypatch: pytest.MonkeyPatch, fast_folder: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(fast_folder / "nobody"))
    stopped.start()
    assert stopped.api().get("/readyz").status == 200
    assert stopped.stop() == 0
    assert "cannot tell the supervisor state=READY=1" in stopped.log()
    assert os.environ["NOTIFY_SOCKET"] in stopped.log()
