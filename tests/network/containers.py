"""Containers as an administrator would start them, by the docker SDK, on docker or podman."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import docker.errors
import pytest
from docker.types import IPAMConfig, IPAMPool

LABEL = "org.xwhep.network-test"
# Decision 6: what an administrator is told to add, and what the images must work with.
HARDENED: dict[str, Any] = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "rw,size=64m,mode=1777"},
}
STATE = {"server": "/var/lib/xwhep-server", "worker": "/var/lib/xwhep-worker", "client": "/home/xwuser"}
# On a very busy machine podman 4.3 now and then fails to start a command; that of a missing command reads otherwise.
ENGINE_FAILED = re.compile(rb"exec failed: (?!.*executable file not found)")
TRIES = 3
CALL_S = 240  # of one command: what waits for a container that has died must not take all of the test's time
NOTED_S = 10.0
CALL_ENDED = 124  # what timeout(1) says then
SHELL: dict[str, Any] = {"command": ["/bin/bash"], "tty": True, "stdin_open": True}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command in a container gave."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode()


def _exit_code(api: Any, execution: str) -> int:
    """Of a command whose output has ended; podman may note the code a moment later, and says -1 until then."""
    deadline = time.monotonic() + NOTED_S
    while (code := api.exec_inspect(execution)["ExitCode"]) in (None, -1) and time.monotonic() < deadline:
        time.sleep(0.02)
    return -1 if code is None else int(code)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A running container."""

    raw: Any
    name: str

    def call(self, *argv: str, environment: dict[str, str] | None = None, check: bool = True) -> Answer:
        """Run a command in it; with `check`, a status other than 0 fails the test with both outputs."""
        for _ in range(TRIES):
            answer = self._once(argv, environment or {})
            if answer.exit_code not in (126, 127) or not ENGINE_FAILED.search(answer.stderr):
                break
        if answer.exit_code == CALL_ENDED:
            pytest.fail(
                f"{argv} in {self.name} has not ended in {CALL_S} s: {answer}; containers: {self._neighbours()}"
            )
        if check:
            assert answer.exit_code == 0, f"{argv} in {self.name}: {answer}"
        return answer

    def _once(self, argv: Sequence[str], environment: dict[str, str]) -> Answer:
        api, words = self.raw.client.api, ["timeout", str(CALL_S), *argv]
        made = api.exec_create(self.raw.id, words, environment=environment)["Id"]
        stdout, stderr = api.exec_start(made, demux=True)
        return Answer(exit_code=_exit_code(api, made), stdout=stdout or b"", stderr=stderr or b"")

    def _neighbours(self) -> dict[str, str]:
        """Whether each container of this run still runs."""
        run = {"label": f"{LABEL}={self.raw.labels[LABEL]}"}
        return {one.name: one.status for one in self.raw.client.containers.list(all=True, filters=run)}

    def shell(self, script: str, **environment: str) -> Answer:
        return self.call("/bin/bash", "-euc", script, environment=environment)

    def read(self, script: str) -> str:
        """What a script prints that only looks, and always prints something: podman 4 loses the output of a short
        command now and then (seen once in some thousand)."""
        for _ in range(TRIES):
            if text := self.shell(script).text:
                return text
        pytest.fail(f"{script!r} in {self.name} prints nothing")

    def write(self, path: str, content: str) -> None:
        """Put text into a file; by environment, since a secret on a command line could be read by others."""
        self.shell(f'umask 077; printf %s "$CONTENT" > {path}', CONTENT=content)

    def start_again(self) -> None:
        """After it ended; podman may still be tidying up behind it."""
        patiently(self.raw.start)

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


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A container to start: of which role's image, under which name, on which network (name or id).

    `address` is its own on that network, also after a restart; empty: the engine's choice. `options` are the SDK's.
    """

    role: str
    name: str
    network: str
    address: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Lab:
    """One engine, what was started on it, and the timings of what was done. `close` removes everything."""

    client: Any
    images: dict[str, str]
    output: Path
    run: str
    timings: dict[str, float] = field(default_factory=dict)
    boxes: list[Box] = field(default_factory=list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.timings[name] = round(time.monotonic() - started, 4)

    def network(self, name: str) -> Any:
        return self.client.networks.create(f"{name}-{self.run}", labels={LABEL: self.run})

    def network_of_chosen_addresses(self, name: str) -> Any:
        """docker lets addresses be chosen only where their range was: this one is what the engine would have taken.
        Between the two steps another process can take it: then again, with what the engine would take now."""
        for tries_left in reversed(range(TRIES)):
            drawn = self.network(name)
            drawn.reload()
            subnet = drawn.attrs["IPAM"]["Config"][0]["Subnet"]
            drawn.remove()
            ranges = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
            try:
                return self.client.networks.create(f"{name}-{self.run}", labels={LABEL: self.run}, ipam=ranges)
            except docker.errors.APIError:
                if not tries_left:
                    raise
        raise AssertionError("not reached")

    def start(self, wanted: Wanted) -> Box:
        """A hardened container with its state in a volume."""
        name = f"{wanted.name}-{self.run}"
        volume = self.client.volumes.create(name, labels={LABEL: self.run})
        # podman gives a new volume to the image's user only when asked (U); docker copies the image's owner unasked.
        mode = "rw,U" if os.environ["XWHEP_TEST_ENGINE"] == "podman" else "rw"
        endpoint = self.client.api.create_endpoint_config(**place(wanted.address))
        raw = self.client.containers.run(
            self.images[wanted.role],
            detach=True,
            name=name,
            hostname=name,
            network=wanted.network,
            networking_config={wanted.network: endpoint},
            labels={LABEL: self.run},
            volumes={volume.name: {"bind": STATE[wanted.role], "mode": mode}},
            environment=wanted.environment,
            **HARDENED,
            **wanted.options,
        )
        box = Box(raw=raw, name=wanted.name)
        self.boxes.append(box)
        return box

    def close(self) -> None:
        """Keep each container's log, then remove them all, and all else that carries this run's label."""
        if self.boxes:
            with ThreadPoolExecutor(len(self.boxes)) as pool:
                list(pool.map(self._remove, self.boxes))
        remove_leftovers(self.client, lambda label: label == self.run)

    def _remove(self, box: Box) -> None:
        with suppress(docker.errors.APIError):
            (self.output / f"{box.name}.log").write_text(box.logs())
        remove(lambda: box.raw.remove(force=True, v=True))


def place(address: str) -> dict[str, str]:
    """An endpoint at that address, its hardware address made from it as docker does. podman gives a restarted container
    another hardware address, and its neighbours go on sending to the old one for up to 41 s (measured)."""
    if not address:
        return {}
    hardware = "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
    return {"ipv4_address": address, "mac_address": hardware}


def together(*starts: Callable[[], Box]) -> list[Box]:
    """Start containers at the same time."""
    with ThreadPoolExecutor(len(starts)) as pool:
        return [started.result() for started in [pool.submit(start) for start in starts]]


def patiently(action: Callable[[], Any], limit_s: float = 15.0) -> Any:
    """podman answers 500 while another process of its own, or of somebody else, changes what it looks at: ask again."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            return action()
        except docker.errors.APIError as exc:
            if not exc.is_server_error() or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def remove(action: Callable[[], Any]) -> None:
    """Remove something that may be gone already."""
    with suppress(docker.errors.NotFound):
        patiently(action)


def remove_leftovers(client: Any, wanted: Callable[[str], bool]) -> None:
    """Remove containers, networks and volumes of runs that `wanted` names."""
    only = {"label": LABEL}
    for container in patiently(lambda: client.containers.list(all=True, filters=only, ignore_removed=True)):
        if wanted(container.labels.get(LABEL, "")):
            remove(partial(container.remove, force=True, v=True))
    for network in patiently(lambda: client.networks.list(filters=only)):
        if wanted((network.attrs.get("Labels") or {}).get(LABEL, "")):
            remove(network.remove)
    for volume in patiently(lambda: client.volumes.list(filters=only)):
        if wanted((volume.attrs.get("Labels") or {}).get(LABEL, "")):
            remove(partial(volume.remove, force=True))


def is_dead(run: str) -> bool:
    """Whether the process that a run's label names is gone: one that was killed may wait to be asked how it ended."""
    try:
        return Path("/proc", run.partition("-")[0], "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
