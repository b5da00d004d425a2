"""Where the parts of a build lie, by the keys that latest.json gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging.store import Store

PACKAGES = "packages.tsv"
ROOT = "root.tar"
JUNIT = "junit.xml"


@dataclass(frozen=True)
class Places:
    """A store, read by key."""

    store: Store

    def folder(self, key: str) -> Path | None:
        manifest = self.store.manifest(key) if key else None
        return self.store.folder(manifest.stage, key) if manifest else None

    def inputs(self, key: str) -> Mapping[str, str] | None:
        manifest = self.store.manifest(key) if key else None
        return manifest.inputs if manifest else None

    def file(self, key: str, name: str) -> Path | None:
        folder = self.folder(key)
        path = folder / name if folder else None
        return path if path and path.is_file() else None

    def installed(self, key: str) -> dict[str, str]:
        """Package to version, of a root file system."""
        path = self.file(key, PACKAGES)
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()] if path else []
        return {row[0]: row[1] for row in rows if len(row) > 1}

    def logs(self, key: str) -> list[Path]:
        folder = self.folder(key)
        return sorted(folder.glob("*.log")) if folder else []

    def step_log(self, key: str) -> Path | None:
        manifest = self.store.manifest(key) if key else None
        path = self.store.log(manifest.stage, manifest.name) if manifest else None
        return path if path and path.is_file() else None
