"""A docker daemon for one test run, apart from the machine's own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DAEMON_START_S = 30.0
WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")  # a killed test run takes its daemon along


@contextmanager
def private_dockerd(folder: Path) -> Iterator[str]:
    """A docker daemon with storage, socket and network namespace of its own: the host's rules stay as they are."""
    with running_dockerd(folder, ["unshare", "--net"], "ip link set lo up && ") as address:
        yield address


@contextmanager
def outgoing_dockerd(folder: Path) -> Iterator[str]:
    """One for builds that fetch packages: on the machine's own network, of which it changes nothing."""
    with running_dockerd(folder, [], "", "--bridge=none --iptables=false --ip-forward=false") as address:
        yield address


@contextmanager
def running_dockerd(folder: Path, enter: list[str], first: str = "", options: str = "") -> Iterator[str]:
    """A daemon that is started by `enter`, after `first`, with everything it has below `folder`."""
    address = folder / "docker.sock"
    script = f'{first}exec dockerd --data-root "{folder}/data" --exec-root "{folder}/exec" ' + (
        f'--pidfile "{folder}/pid" --host "unix://{address}" {options}'
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*WITH_US, "unshare", "--mount", "--propagation", "private", "--", *enter, "sh", "-c", script],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + DAEMON_START_S
        while not _answers(address):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"unix://{address}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(address: Path) -> bool:
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    try:
        connection.sock.connect(str(address))
        connection.request("GET", "/_ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
