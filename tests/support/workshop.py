"""Sample projects as sources of one small product, built in-process on root file systems that this checkout made."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clones import REPOSITORY
from xwhep_packaging import settings
from xwhep_packaging.artefacts import Output
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.store import Store

PROJECTS = REPOSITORY / "tests" / "projects"
LOCK = REPOSITORY / "packaging" / "lock" / "trixie-amd64.toml"  # so that the chroot is this checkout's
COMMITTED = "2026-11-02T12:00:00+00:00"
OWN_KEYS = ("location", "ref")


def read_sample(name: str) -> dict[str, Any]:
    """sample.toml: [source] as the pipeline file would have it, [expect] what must come of it."""
    return tomllib.loads((PROJECTS / name / "sample.toml").read_text(encoding="utf-8"))


def samples(*, broken: bool) -> list[str]:
    return sorted(
        path.parent.name for path in PROJECTS.glob("*/sample.toml") if path.parent.name.startswith("broken-") == broken
    )


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """A folder for repositories; `store` keeps what is made, its root file systems lie in this checkout's store."""

    folder: Path
    store: Path

    def repository(self, name: str, called: str = "") -> Path:
        """The sample as a git repository with one commit."""
        folder = self.folder / (called or name)
        shutil.copytree(PROJECTS / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message=sample")
        return folder

    def pipeline(self, repository: Path, source: dict[str, Any]) -> Pipeline:
        """A pipeline whose file lies in the repository but outside of its commit; the source is named as its folder."""
        chroot = tomllib.loads((REPOSITORY / "packaging" / "pipeline.toml").read_text(encoding="utf-8"))["chroot"]
        name = repository.name
        product = {"name": "samples", "maintainer": "Sample Maker <sample@example.invalid>"}
        table = {
            "product": product,
            "store": {"folder": str(self.store)},
            "sources": {name: source},
            "chroot": chroot,
            "base": {"packages": ["python3-minimal"]},
            "lock": {"file": str(LOCK)},
            "images": {"only": {"debs": {name: []}, "entrypoint": ["/bin/true"]}},
        }
        file = repository / ".git" / "pipeline.toml"
        file.write_text(as_toml(table), encoding="utf-8")
        loaded = settings.load(file, {})
        return Pipeline(loaded, Store(loaded.store_folder))

    def build(self, name: str) -> Built:
        """Build the sample, and lint it unless its settings say otherwise."""
        pipeline = self.pipeline(self.repository(name), read_sample(name)["source"])
        debs = pipeline.make(f"debs:{name}")
        if f"lint:{name}" in pipeline.steps:
            pipeline.make(f"lint:{name}")
        return Built(pipeline=pipeline, debs=debs)


@dataclass(frozen=True, kw_only=True)
class Built:
    pipeline: Pipeline
    debs: Output

    def matching(self, pattern: str) -> list[Path]:
        return [
            self.debs.folder / name for name in sorted(self.debs.manifest.files) if fnmatch.fnmatchcase(name, pattern)
        ]

    def one(self, pattern: str) -> Path:
        found = self.matching(pattern)
        assert len(found) == 1, (pattern, sorted(self.debs.manifest.files))
        return found[0]

    def chroot_packages(self) -> set[str]:
        (name,) = self.pipeline.settings.sources
        root = self.pipeline.output(self.pipeline._chroot_of(name))
        return {row.split("\t")[0] for row in root.path("packages.tsv").read_text().splitlines()}


def as_toml(table: dict[str, Any]) -> str:
    """TOML of nested plain tables: JSON's strings, numbers and lists are TOML's too."""
    lines: list[str] = []

    def write(prefix: str, value: dict[str, Any]) -> None:
        lines.append(f"[{prefix}]")
        inner = {key: part for key, part in value.items() if isinstance(part, dict) and part and prefix.count(".") < 1}
        lines.extend(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items() if key not in inner)
        for key, part in inner.items():
            write(f"{prefix}.{key}", part)

    for key, value in table.items():
        write(key, value)
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_value(part)}" for key, part in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return json.dumps(value)


def git(folder: Path, *words: str, date: str = COMMITTED) -> str:
    identity = ["-c", "user.name=Sample Maker", "-c", "user.email=sample@example.invalid", "-c", "commit.gpgsign=false"]
    environment = {**os.environ, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_GLOBAL": "/dev/null"}
    argv = ["git", *identity, "-C", str(folder), *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def deb_contents(deb: Path) -> str:
    return subprocess.run(["dpkg-deb", "--contents", str(deb)], check=True, capture_output=True, text=True).stdout


def deb_field(deb: Path, field: str) -> str:
    return subprocess.run(["dpkg-deb", "--field", str(deb), field], check=True, capture_output=True, text=True).stdout


def deb_file(deb: Path, path: str, folder: Path) -> str:
    """The text of one file in the package; `folder` is used to unpack it."""
    target = folder / f"unpacked-{deb.stem}"
    subprocess.run(["dpkg-deb", "--extract", str(deb), str(target)], check=True)
    return (target / path).read_text()
