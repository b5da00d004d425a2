"""Clones of this repository with a deployment of their own, made as an administrator makes it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clones import Clone
from deployments import PASSWORD
from xwhep_packaging.deployment import folder
from xwhep_packaging.deployment.records import Deployment

SERVER = "grid.invalid"  # no name server knows it, anywhere
NAME = "lab"
ANSWERS = f"XWSERVER={SERVER}\nXWADMINLOGIN=admin\nXWADMINPASSWORD='{PASSWORD}'\nCERTO='Example Lab'\nCERTC=FR\n"
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Grid:
    """`command_lines` are those of all processes that ran on this machine while the grid was made."""

    clone: Clone
    command_lines: bytes

    @property
    def deployment(self) -> Deployment:
        return folder.read(self.clone.folder / "deployments", NAME)

    def facts(self, stage: str) -> dict[str, dict[str, Any]]:
        """Name -> facts of the newest output of that name."""
        paths = sorted((self.clone.store / stage).glob("*/manifest.json"), key=lambda path: path.stat().st_mtime_ns)
        manifests = [json.loads(path.read_text()) for path in paths]
        return {manifest["name"]: manifest["facts"] for manifest in manifests}

    def conf_package(self, role: str) -> Path:
        version = self.facts("conf")[role]["version"]
        return min(self.clone.store.glob(f"conf/*/xwhep-{role}-conf_{version}_all.deb"))

    def package(self, role: str) -> Path:
        """The role's own, public package."""
        version = self.facts("images")[role]["version"]
        return min(self.clone.store.glob(f"debs/*/xwhep-{role}_{version}_all.deb"))

    def root(self) -> Path:
        """The root file system that the images stand on, as a tar."""
        manifests = [
            path for path in self.clone.store.glob("base/*/manifest.json") if '"name": "rootfs"' in path.read_text()
        ]
        return max(manifests, key=lambda path: path.stat().st_mtime).with_name("root.tar")

    def image(self, role: str) -> str:
        """The dated name, as a person types it."""
        return str(self.facts("bound")[role]["tags"][0].removesuffix(":latest"))


def configured_grid(clone: Clone, answers: Path) -> Grid:
    answers.write_text(ANSWERS)
    answers.chmod(0o600)
    with _watched() as seen:
        clone.doit("configure", f"values={answers}", f"name={NAME}")
        clone.doit("bound")
    return Grid(clone=clone, command_lines=b"\n".join(sorted(seen)))


@contextmanager
def _watched() -> Iterator[set[bytes]]:
    """Collect what every user of the machine can see of its processes."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_EVERY_S):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:  # it has ended meanwhile
                    continue

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
