"""Clones that share one base, and a private docker daemon: what the tests of whole builds need."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
DAEMON_START_S = 30.0
BUILD_LIMIT_S = 600


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A clone of this repository with a store of its own."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "_build"

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("XWHEP_") and name != "DOCKER_HOST"
        }
        return {**kept, **extra}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        argv = [str(self.folder / "scripts" / "doit"), *words]
        return subprocess.Popen(
            argv,
            cwd="/",
            env=self.environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def doit(self, *words: str, code: int = 0, **environment: str) -> str:
        process = self.start(*words, **environment)
        try:
            out, _ = process.communicate(timeout=BUILD_LIMIT_S)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()
            raise
        assert process.returncode == code, out
        return out

    def latest(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.store / "latest.json").read_text())
        return report

    def git(self, *words: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *words], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def change(self, path: str, text: str) -> None:
        """Append `text` to a file and commit it."""
        with (self.folder / path).open("a") as stream:
            stream.write(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {path}")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `scripts/doit build` ran to its end; its root file systems come from this checkout's store."""
    folder = tmp_path_factory.mktemp("whole") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    clone = Clone(folder=folder)
    for kept in ("base", "base_image"):
        source = REPOSITORY / "_build" / kept
        if source.is_dir():  # else the clone makes them: slower, not wrong
            shutil.copytree(source, clone.store / kept)
    clone.doit("build")
    return clone


@contextmanager
def private_dockerd(folder: Path) -> Iterator[str]:
    """A docker daemon with storage, socket and network namespace of its own: the host's rules stay as they are."""
    address = folder / "docker.sock"
    script = f'ip link set lo up && exec dockerd --data-root "{folder}/data" --exec-root "{folder}/exec" ' + (
        f'--pidfile "{folder}/pid" --host "unix://{address}"'
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["unshare", "--net", "--", "sh", "-c", script], stdout=log, stderr=log, start_new_session=True
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


@pytest.fixture(scope="session")
def docker_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("dockerd")
    with private_dockerd(folder) as address:
        yield address
    shutil.rmtree(folder, ignore_errors=True)
