"""The one image of a machine that has none: its own shell and a few tools, as the engine `process` unpacks it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from xwhep_packaging import plain_root
from xwhep_packaging.errors import EngineError
from xwhep_packaging.process_engine.images import Images

CONFIG = {
    "Id": "sha256:" + "a" * 64,
    "Env": ["GREETING=hello", "WHO=image"],
    "User": "7:8",
    "StopSignal": "SIGINT",
    "Healthcheck": {"Test": ["CMD", "/bin/true"]},
}
TOOLS = ("sh", "sleep", "id", "cat", "env")


class OneImage(Images):
    """The only image: this machine's shell and a few tools."""

    def config(self, name: str) -> dict[str, Any]:
        if name != "image":
            raise EngineError("no such image")
        return CONFIG

    def names(self, identity: str) -> list[str]:
        return ["grid-server"]

    def root(self, name: str, target: Path) -> None:
        for folder in ("bin", "etc", "tmp", "state"):
            (target / folder).mkdir(parents=True)
        if os.geteuid() == 0:
            plain_root.furnish(target)
        for tool in TOOLS:
            self._copy(Path(str(shutil.which(tool))), target / "bin" / tool, target)

    def _copy(self, source: Path, target: Path, root: Path) -> None:
        shutil.copy(source.resolve(), target)
        listed = subprocess.run(["ldd", str(source.resolve())], capture_output=True, text=True, check=True).stdout
        for library in {word for word in listed.split() if word.startswith("/")}:
            place = root / library.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)
