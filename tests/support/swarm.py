"""Three docker daemons that see one another as machines on a switch: one network namespace each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon import running_dockerd

HUB = "hub"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One daemon, and the address at which the others reach its machine."""

    number: int
    socket: str
    address: str
    switch: str

    def docker(self, *words: str, text: str = "", check: bool = True) -> str:
        argv = ["docker", "--host", self.socket, *words]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout.strip()

    def typed(self, script: str, folder: Path) -> str:
        """Commands as a person types them on that machine."""
        environment = {**os.environ, "DOCKER_HOST": self.socket}
        argv = ["sh", "-euc", script]
        done = subprocess.run(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout

    def unplug(self) -> None:
        """Pull its cable: for the others it is dead."""
        ip("-n", self.switch, "link", "set", f"port{self.number}", "down")

    def plug(self) -> None:
        ip("-n", self.switch, "link", "set", f"port{self.number}", "up")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def namespace(name: str) -> Iterator[str]:
    ip("netns", "add", name)
    try:
        ip("-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        ip("netns", "del", name)


@contextmanager
def three_nodes(folder: Path) -> Iterator[list[Node]]:
    """No default route anywhere: a daemon would wait for name servers that nobody is."""
    prefix = f"xwhep-test-{os.getpid()}"
    with ExitStack() as stack:
        switch = stack.enter_context(namespace(f"{prefix}-{HUB}"))
        ip("-n", switch, "link", "add", "name", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        nodes = []
        for number in (1, 2, 3):
            name = stack.enter_context(namespace(f"{prefix}-{number}"))
            own, port, address = (name, "eth0"), (switch, f"port{number}"), f"10.97.0.{number}"
            ip("-n", name, "link", "add", "name", own[1], "type", "veth", "peer", "name", port[1], "netns", switch)
            ip("-n", switch, "link", "set", port[1], "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", own[1])
            ip("-n", name, "link", "set", own[1], "up")
            place = folder / str(number)
            place.mkdir()
            # nsenter, not `ip netns exec`: that hides /sys/fs/cgroup.
            socket = stack.enter_context(running_dockerd(place, ["nsenter", f"--net=/run/netns/{name}"]))
            nodes.append(Node(number=number, socket=socket, address=address, switch=switch))
        yield nodes
