"""What an image holds: every file of its layers, laid one on another, and what its dpkg says of them.

engine's storage ──> layers, each read once ──> whiteouts obeyed ──> Tree ──> packages, and the owner of each file
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output
from xwhep_packaging.command import Command
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.layers import canonical_layer
from xwhep_packaging.release.bills.installed import Package, packages_of
from xwhep_packaging.temporary import temporary_folder

DPKG = "/var/lib/dpkg"
STATUS = f"{DPKG}/status"
DIVERSIONS = f"{DPKG}/diversions"
USERS = "/etc/passwd"
KEPT = re.compile(rf"({DPKG}/(status|diversions|info/[^/]+\.list)|{USERS})")  # files whose text is needed
HIDDEN = ".wh."
OPAQUE = ".wh..wh..opq"
BYTE_CODE = re.compile(r"(.*)/__pycache__/([^/]+?)\.cpython-\d+(?:\.opt-[12])?\.pyc")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One path. `kind`: file, link (symbolic), folder or other; `size` in bytes; `text` of the few files of KEPT."""

    kind: str
    mode: int
    size: int = 0
    sha1: str = ""
    sha256: str = ""
    link: str = ""
    text: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The files of an image by absolute path, its configuration as OCI has it, and its size in bytes, uncompressed."""

    files: Mapping[str, Entry]
    config: Mapping[str, Any]
    size: int

    @cached_property
    def packages(self) -> list[Package]:
        """Those that its dpkg has installed, by name."""
        status = self.files.get(STATUS)
        return packages_of(status.text) if status else []

    @cached_property
    def owners(self) -> dict[str, str]:
        """The package that owns each file, by dpkg's lists; byte code belongs to whoever owns its source."""
        listed = self._listed()
        found = {path: listed[path] for path in self.files if path in listed}
        for path in self.files:
            source = BYTE_CODE.fullmatch(path)
            module = f"{source[1]}/{source[2]}.py" if source else ""
            if path not in found and module in self.files and module in listed:
                found[path] = listed[module]
        return found

    def unowned(self) -> list[str]:
        """Files and links, not folders, that no package owns."""
        return sorted(path for path, entry in self.files.items() if entry.kind != "folder" and path not in self.owners)

    def real(self, path: str) -> str:
        """The path as the layers have it: /bin is a link to usr/bin."""
        top, _, rest = path.removeprefix("/").partition("/")
        entry = self.files.get(f"/{top}")
        return posixpath.normpath(f"/{entry.link}/{rest}") if rest and entry and entry.kind == "link" else path

    def _listed(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, entry in sorted(self.files.items()):
            if name.startswith(f"{DPKG}/info/") and name.endswith(".list"):
                package = posixpath.basename(name).removesuffix(".list").partition(":")[0]
                found |= {self.real(line): package for line in entry.text.splitlines()}
        for old, new in self._diverted():
            if old in found:
                found.setdefault(new, found[old])
        return found

    def _diverted(self) -> Iterator[tuple[str, str]]:
        """A path that another package claims, and where dpkg puts it instead."""
        entry = self.files.get(DIVERSIONS)
        lines = entry.text.splitlines() if entry else []
        for old, new in zip(lines[0::3], lines[1::3], strict=False):
            yield self.real(old), self.real(new)


def read_images(images: Mapping[str, Output]) -> dict[str, Tree]:
    """Baked images by their names; a layer that several stand on is read once.

    Raises:
        ReleaseError, BakeError: the engine's storage no longer has one.
    """
    layers: dict[str, dict[str, Entry]] = {}
    return {name: _read_image(image, layers) for name, image in images.items()}


def _read_image(image: Output, layers: dict[str, dict[str, Entry]]) -> Tree:
    facts, files = image.manifest.facts, dict[str, Entry]()
    with temporary_folder("contents") as folder:
        if all(layer in layers for layer in facts["layers"][:-1]):
            top = canonical_layer(facts["digest"], facts["layers"], {}, folder / "top.tar")
            layers[facts["layers"][-1]] = read_layer(top.file)
        else:
            _read_all(image, folder, layers)
    for layer in facts["layers"]:
        lay_over(files, layers[layer])
    config = json.loads(image.path("config.json").read_bytes())
    return Tree(files=files, config=config.get("config", {}), size=int(facts["size"]))


def _read_all(image: Output, folder: Path, layers: dict[str, dict[str, Entry]]) -> None:
    facts = image.manifest.facts
    what = f"cannot read image {image.manifest.name} from the engine's storage"
    argv = ["buildah", "push", "--quiet", "--disable-compression", facts["digest"], f"dir:{folder}"]
    command.run(Command(argv=argv, error=ReleaseError, what=what, next_step="scripts/doit images"))
    for layer in facts["layers"]:
        if layer not in layers:
            layers[layer] = read_layer(folder / str(layer).removeprefix("sha256:"))


def read_layer(tarball: Path) -> dict[str, Entry]:
    """What a layer says, whiteouts as they are."""
    found: dict[str, Entry] = {}
    with tarfile.open(tarball) as archive:
        for member in archive:
            path = posixpath.normpath(f"/{member.name}")
            if path != "/":
                found[path] = _entry(archive, member, path, found)
    return found


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str, before: Mapping[str, Entry]) -> Entry:
    mode = member.mode & 0o7777
    if member.islnk():
        return replace(before[posixpath.normpath(f"/{member.linkname}")], size=0)  # its bytes are there once
    if member.issym():
        return link_entry(member.linkname, mode)
    stream = archive.extractfile(member)
    if stream is None:
        return Entry(kind="folder" if member.isdir() else "other", mode=mode)
    content = stream.read()
    return file_entry(content, mode, keep=bool(KEPT.fullmatch(path)))


def file_entry(content: bytes, mode: int, *, keep: bool = False) -> Entry:
    """SPDX wants a SHA1 of every file, for the code that identifies a set of them."""
    return Entry(
        kind="file",
        mode=mode,
        size=len(content),
        sha1=hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
        text=content.decode("utf-8", "replace") if keep else "",
    )


def link_entry(target: str, mode: int) -> Entry:
    """A symbolic link; its content is where it leads, as git has it."""
    return replace(file_entry(target.encode(), mode), kind="link", size=0, link=target)


def lay_over(files: dict[str, Entry], layer: Mapping[str, Entry]) -> None:
    """Put a layer on what lies below it."""
    for path in layer:
        folder, name = posixpath.split(path)
        if name == OPAQUE:
            _remove(files, folder, itself=False)
        elif name.startswith(HIDDEN):
            _remove(files, posixpath.join(folder, name.removeprefix(HIDDEN)), itself=True)
    for path, entry in layer.items():
        if posixpath.basename(path).startswith(HIDDEN):
            continue
        if entry.kind != "folder" and path in files and files[path].kind == "folder":
            _remove(files, path, itself=True)
        files[path] = entry


def _remove(files: dict[str, Entry], path: str, *, itself: bool) -> None:
    for known in [known for known in files if known.startswith(f"{path}/") or (itself and known == path)]:
        del files[known]
