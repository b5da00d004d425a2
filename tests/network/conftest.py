"""Containers as an administrator would start them, by the docker SDK, on docker or podman.

The pipeline tells by environment what to test: DOCKER_HOST, XWHEP_TEST_IMAGES (JSON: role -> digest),
XWHEP_TEST_OUTPUT (a folder for logs and timings) and XWHEP_TEST_ENGINE. Everything made here carries a label, and is
removed at the end, also after Ctrl-C or SIGTERM; what a killed run left is removed by the next one.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import docker
import docker.errors
import pytest

LABEL = "org.xwhep.network-test"
READY_S = 30.0
# Decision 6: what an administrator is told to add, and what the images must work with.
HARDENED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "rw,size=64m,mode=1777"},
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command in a container gave."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode()


@dataclass(frozen=True, kw_only=True)
class Box:
    """A running container."""

    raw: Any
    name: str

    def call(self, *argv: str, environment: dict[str, str] | None = None, check: bool = True) -> Answer:
        """Run a command in it; with `check`, a status other than 0 fails the test with both outputs."""
        ran = self.raw.exec_run(list(argv), environment=environment or {}, demux=True)
        stdout, stderr = ran.output
        answer = Answer(exit_code=ran.exit_code, stdout=stdout or b"", stderr=stderr or b"")
        if check:
            assert answer.exit_code == 0, f"{argv} in {self.name}: {answer}"
        return answer

    def shell(self, script: str, **environment: str) -> Answer:
        return self.call("/bin/bash", "-euc", script, environment=environment)

    def write(self, path: str, content: str) -> None:
        """Put text into a file; by environment, since a secret on a command line could be read by others."""
        self.shell(f'umask 077; printf %s "$CONTENT" > {path}', CONTENT=content)

    def logs(self) -> str:
        return str(self.raw.logs().decode(errors="replace"))

    def wait_for_log(self, wanted: str) -> None:
        """Follow the log until a line holds `wanted`: an event, not a sleep."""
        seen = ""
        for chunk in self.raw.logs(stream=True, follow=True):
            seen += chunk.decode(errors="replace")
            if wanted in seen:
                return
        pytest.fail(f"{self.name} ended without {wanted!r} in its log:\n{seen}")


@dataclass(kw_only=True)
class Lab:
    """One engine, one network, the containers on it, and the timings of what was done."""

    client: Any
    images: dict[str, str]
    output: Path
    run: str
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.timings[name] = round(time.monotonic() - started, 4)

    def network(self) -> Any:
        return self.client.networks.create(f"xwhep-test-{self.run}", labels={LABEL: self.run})

    @contextmanager
    def started(self, role: str, network: str, **options: Any) -> Iterator[Box]:
        """A container of the role's image, hardened, on the network of that id; its log is kept, it is removed."""
        volume = self.client.volumes.create(f"xwhep-test-{self.run}-{role}", labels={LABEL: self.run})
        state = options.pop("state")
        # podman gives a new volume to the image's user only when asked (U); docker copies the image's owner unasked.
        mode = "rw,U" if os.environ["XWHEP_TEST_ENGINE"] == "podman" else "rw"
        raw = self.client.containers.run(
            self.images[role],
            detach=True,
            network=network,
            labels={LABEL: self.run},
            volumes={volume.name: {"bind": state, "mode": mode}},
            **HARDENED,
            **options,
        )
        box = Box(raw=raw, name=role)
        try:
            yield box
        finally:
            with suppress(docker.errors.APIError):
                (self.output / f"{role}.log").write_text(box.logs())
            raw.remove(force=True, v=True)
            volume.remove(force=True)


def remove_leftovers(client: Any, wanted: Callable[[str], bool]) -> None:
    """Remove containers, networks and volumes of runs that `wanted` names."""
    for container in client.containers.list(all=True, filters={"label": LABEL}):
        if wanted(container.labels.get(LABEL, "")):
            container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": LABEL}):
        if wanted((network.attrs.get("Labels") or {}).get(LABEL, "")):
            network.remove()
    for volume in client.volumes.list(filters={"label": LABEL}):
        if wanted((volume.attrs.get("Labels") or {}).get(LABEL, "")):
            volume.remove(force=True)


def is_dead(run: str) -> bool:
    """Whether the process that a run's label names is gone."""
    pid = run.partition("-")[0]
    return not pid.isdigit() or not Path(f"/proc/{pid}").exists()


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends the tests as Ctrl-C does, so that fixtures clean up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    config.addinivalue_line("markers", "last: stops the containers that all tests share")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    client = docker.from_env(timeout=120)
    run = f"{os.getpid()}-{secrets.token_hex(4)}"
    output = Path(os.environ["XWHEP_TEST_OUTPUT"])
    remove_leftovers(client, is_dead)
    lab = Lab(client=client, images=json.loads(os.environ["XWHEP_TEST_IMAGES"]), output=output, run=run)
    try:
        yield lab
    finally:
        remove_leftovers(client, lambda label: label == run)
        client.close()
        (output / "timings.json").write_text(json.dumps(lab.timings, indent=1, sort_keys=True))


@pytest.fixture(scope="session")
def server(lab: Lab) -> Iterator[Box]:
    name = f"xwserver-{lab.run}"
    started = time.monotonic()
    # Its container name is its host name, so that the others find it by the address in the join line.
    with lab.started("server", lab.network().id, name=name, hostname=name, state="/var/lib/xwhep-server") as box:
        box.wait_for_log("ready")
        lab.timings["server_container_ready_s"] = round(time.monotonic() - started, 4)
        yield box


@pytest.fixture(scope="session")
def network_id(server: Box) -> str:
    """The id of the server's network, as `docker inspect` gives it."""
    server.raw.reload()
    networks = server.raw.attrs["NetworkSettings"]["Networks"]
    assert len(networks) == 1
    return str(next(iter(networks.values()))["NetworkID"])


@pytest.fixture(scope="session")
def worker(lab: Lab, server: Box, network_id: str) -> Iterator[Box]:
    line = joined(server.call("xwhep-server", "join-line", "worker"))
    with lab.started("worker", network_id, environment={"XWHEP_JOIN": line}, state="/var/lib/xwhep-worker") as box:
        yield box


@pytest.fixture(scope="session")
def client(lab: Lab, server: Box, network_id: str) -> Iterator[Box]:
    """A shell beside the server, as `docker run -ti --network=ID xwclientimg_... /bin/bash` gives it, logged in."""
    options = {"command": ["/bin/bash"], "tty": True, "stdin_open": True, "state": "/home/xwuser"}
    line = joined(server.call("xwhep-server", "join-line", "client"))
    with lab.started("client", network_id, **options) as box:
        box.shell('printf "%s\\n" "$LINE" | xw login', LINE=line)
        yield box


def joined(answer: Answer) -> str:
    """The join line inside the shell command that the server prints: echo 'LINE' | program."""
    return shlex.split(answer.text)[1]
