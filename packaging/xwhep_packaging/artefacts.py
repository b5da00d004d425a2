"""What stages hand on. A manifest records what one stage made; the dataclasses below are its typed faces."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

DATED_FORM = "%Y-%m-%d-%H-%M-%S"


class FileRecord(msgspec.Struct, frozen=True):
    """One file of an output: its size in bytes and sha256 in lowercase hex."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a stage made. `inputs` says in words what decided it, each with its digest; `facts` is the stage's own."""

    stage: str
    name: str
    key: str
    inputs: dict[str, str]
    files: dict[str, FileRecord] = {}
    facts: dict[str, Any] = {}


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A published folder of the store and its manifest."""

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """A file of this output.

        Raises:
            KeyError: the manifest has no such file.
        """
        if name not in self.manifest.files:
            raise KeyError(name)
        return self.folder / name

    def matching(self, suffix: str) -> list[Path]:
        """The files whose names end so, sorted."""
        return [self.folder / name for name in sorted(self.manifest.files) if name.endswith(suffix)]


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """A resolved commit of a source, before anything is exported.

    `sha` is what was asked for. `shipped_sha` and `epoch` (UTC seconds) are those of the last commit that touched what
    ships, `content` is a digest of what ships alone, taken of the git trees in `listing`, `tag` the version tag that
    covers it (may be empty). `released`: it is a published archive with its own version; `repository` is then the
    archive, both hashes are its sha256.
    """

    repository: Path
    origin: str
    sha: str
    shipped_sha: str
    epoch: int
    content: str
    listing: str = ""
    tag: str = ""
    dirty: bool = False
    shallow: bool = False
    released: bool = False

    def version(self, base: str) -> str:
        """The tag's version, else `base`~gitDATE.TIME+HASH: sorts before `base` itself, after older commits."""
        if self.released:
            return base
        if self.tag:
            return self.tag.removeprefix("v")
        stamp = datetime.fromtimestamp(self.epoch, UTC).strftime("%Y%m%d.%H%M")
        return f"{base}~git{stamp}+{_short(self.shipped_sha)}"


def _short(sha: str) -> str:
    """Seven digits of a hash, or more: dpkg takes a version that ends in +b552103 for a binary rebuild of another."""
    return next((sha[:length] for length in range(7, len(sha)) if not re.fullmatch(r"b\d+", sha[:length])), sha)


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One baked image in the engine's storage. Sizes are bytes, uncompressed; digest is the config's sha256."""

    name: str
    tags: tuple[str, ...]
    digest: str
    size: int
    layers: tuple[str, ...]


def dated(epoch: int) -> str:
    """`epoch` as the seed's images carry it: 2026-11-23-22-46-37 (UTC)."""
    return datetime.fromtimestamp(epoch, UTC).strftime(DATED_FORM)


def rfc3339(epoch: int) -> str:
    """`epoch` as OCI labels carry it: 2026-11-23T22:46:37Z."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digests_of(*files: Path) -> dict[str, str]:
    """The sha256 of each, by its name."""
    return {path.name: sha256_file(path) for path in files}


def digests_below(folder: Path) -> dict[str, str]:
    """The sha256 of every file below `folder` by its relative path; one that can be executed says so. No byte code."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            mark = "+x" if path.stat().st_mode & 0o100 else ""
            found[str(path.relative_to(folder))] = sha256_file(path) + mark
    return found


def digest_over(digests: Mapping[str, str]) -> str:
    """One digest of names and what each has."""
    rows = (f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256("".join(rows).encode()).hexdigest()
