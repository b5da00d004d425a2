"""Containers as a person starts them with podman, one command after the other; nothing of them stays."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_S = 60.0
CHOSEN = 99  # far from those that are given out one after the other
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """All that is started here has a name that begins with `run`."""

    environment: dict[str, str]
    run: str = field(default_factory=lambda: f"xwhep-hand-{secrets.token_hex(4)}")

    def podman(self, *words: str, text: str = "", check: bool = True) -> str:
        """What it prints, on both of its outputs."""
        done = subprocess.run(
            ["podman", *words],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            check=False,
            timeout=LIMIT_S,
        )
        assert not check or done.returncode == 0, (words, done.stdout, self.logs())
        return done.stdout

    def typed(self, line: str) -> None:
        """A line for a shell."""
        done = subprocess.run(
            ["sh", "-c", line], env=self.environment, stderr=subprocess.PIPE, check=False, timeout=LIMIT_S
        )
        assert done.returncode == 0, (line, done.stderr)

    def start(self, name: str, image: str, *options: str, words: tuple[str, ...] = ()) -> None:
        argv = ["run", "--detach", f"--name={self.run}-{name}", "--no-healthcheck", *HARDENED, *options, image, *words]
        self.podman(*argv)

    def network(self) -> tuple[str, str]:
        """The options of a network of its own, and that of an address there which a later container takes over.

        Neighbours that know an address need not look for its next owner, which takes them seconds.
        """
        self.podman("network", "create", self.run)
        subnet = self.podman("network", "inspect", "--format={{range .Subnets}}{{.Subnet}}{{end}}", self.run)
        return f"--network={self.run}", f"--ip={next(ipaddress.ip_network(subnet.strip()).hosts()) + CHOSEN}"

    def volume(self, name: str, folder: str) -> str:
        """The option that mounts a volume, given to the image's user."""
        return f"--volume={self.run}-{name}:{folder}:U"

    def says(self, name: str, pattern: str) -> None:
        """Wait until the container has logged it; it fails at once when the container ends."""
        follow = ["podman", "logs", "--follow", f"{self.run}-{name}"]
        with subprocess.Popen(
            follow, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout
            seen = []
            try:
                for line in process.stdout:
                    seen.append(line)
                    if re.search(pattern, line):
                        return
            finally:
                process.kill()
        raise AssertionError(f"{name} ended without {pattern!r}: {''.join(seen)}")

    def inside(self, name: str, *argv: str, text: str = "", check: bool = True) -> str:
        return self.podman("exec", "--interactive", f"{self.run}-{name}", *argv, text=text, check=check)

    def stop(self, name: str) -> None:
        self.podman("rm", "--force", "--volumes", "--time=10", f"{self.run}-{name}")

    def logs(self) -> str:
        return "".join(f"{name}:\n{self.podman('logs', name, check=False)}" for name in self._all("ps", "--all"))

    def clear(self) -> None:
        if containers := self._all("ps", "--all"):
            self.podman("rm", "--force", "--volumes", "--time=0", *containers)
        if volumes := self._all("volume", "ls"):
            self.podman("volume", "rm", "--force", *volumes)
        if networks := self._all("network", "ls"):
            self.podman("network", "rm", *networks)

    def _all(self, *words: str) -> list[str]:
        form = "{{.Names}}" if words[0] == "ps" else "{{.Name}}"
        return [
            name for name in self.podman(*words, f"--format={form}", check=False).split() if name.startswith(self.run)
        ]


@contextmanager
def by_hand(settings: Path | None) -> Iterator[ByHand]:
    """`settings`: the containers.conf that podman needs on this machine."""
    extra = {"CONTAINERS_CONF": str(settings)} if settings else {}
    hand = ByHand(environment={**os.environ, **extra})
    try:
        yield hand
    finally:
        hand.clear()
