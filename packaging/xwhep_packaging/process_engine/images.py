"""Images of buildah's storage, and a root file system of one's own for each container.

image ── buildah from, mount ──> template (once) ── hard links ──> root of a container
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xwhep_packaging import command, engines, plain_root, powers
from xwhep_packaging.command import Command
from xwhep_packaging.errors import EngineError

# What other users than root own could be written to in place, and must not be shared.
UNSHARE = 'find "$1" -type f ! -uid 0 -exec sh -c \'for f; do cp -p "$f" "$f.own" && mv "$f.own" "$f"; done\' sh {} +'


@dataclass(kw_only=True)
class Images:
    """`folder` is on the disk that roots are to lie on."""

    folder: Path
    log: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def config(self, name: str) -> dict[str, Any]:
        """An image's id as `Id`, and what its configuration says of how it runs.

        Raises:
            EngineError: there is no such image.
        """
        with self._lock:
            if name not in self._configs:
                inspected = json.loads(self._buildah("inspect", "--type=image", name))
                about = json.loads(inspected["Config"])["config"]
                self._configs[name] = {"Id": f"sha256:{inspected['FromImageID'].removeprefix('sha256:')}", **about}
            return self._configs[name]

    def names(self, identity: str) -> list[str]:
        """Its names in the storage, without host and version."""
        known = engines.stored_names().get(identity.removeprefix("sha256:"), set())
        return sorted(name.rpartition("/")[2].partition(":")[0] for name in known)

    def root(self, name: str, target: Path) -> None:
        """A root file system of that image, with devices, at `target`."""
        template = self._template(name)
        self._run(["cp", "-a", "--link", template, target])
        self._run(["sh", "-c", UNSHARE, "sh", target])
        for folder in ("tmp", "var/tmp", "dev", "dev/shm"):
            plain_root.emptied(target / folder)
        (target / "dev").chmod(0o755)
        plain_root.furnish(target)

    def _template(self, name: str) -> Path:
        template = self.folder / "templates" / str(self.config(name)["Id"]).removeprefix("sha256:")
        with self._lock:
            if not template.is_dir():
                fresh = template.with_suffix(".new")
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.parent.mkdir(parents=True, exist_ok=True)
                container = self._buildah("from", "--pull-never", name).strip()
                try:
                    place = self._buildah("mount", container).strip()
                    self._run(["cp", "-a", "--reflink=auto", place, fresh])
                finally:
                    self._buildah("rm", container)
                fresh.rename(template)
        return template

    def _buildah(self, *words: str) -> str:
        environment = powers.storage_environment()
        return command.run(Command(argv=["buildah", *words], env=environment, error=EngineError)).stdout

    def _run(self, argv: Sequence[str | Path]) -> None:
        command.run(Command(argv=argv, error=EngineError, log=self.log))
