"""The top layer of an image in a canonical form, whatever storage it was made in.

image ── buildah push, the layers below left out ──> top layer ── sorted, what nothing changed cut out ──> layer.tar

A storage on overlayfs lists every folder in which a file came and went; others list none of these, in another order.
"""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xwhep_packaging import command, powers
from xwhep_packaging.artefacts import Output
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BakeError
from xwhep_packaging.temporary import temporary_folder

FOLDERS = "folders.json"
XATTR = "SCHILY.xattr."
Folders = Mapping[str, Sequence[int]]  # path -> mode, uid, gid


@dataclass(frozen=True, kw_only=True)
class Below:
    """The image that another is meant to stand on: its layers' diff ids, and the folders in them."""

    layers: Sequence[str] = ()
    folders: Folders = field(default_factory=dict)

    def under(self, diff_ids: Sequence[str]) -> Folders:
        """What lies below the last of `diff_ids`; nothing that is known, where a Containerfile chose another base."""
        return self.folders if list(diff_ids[:-1]) == list(self.layers) else {}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """An uncompressed layer."""

    file: Path
    digest: str
    size: int


def read_folders(file: Path) -> Folders:
    return dict(json.loads(file.read_bytes()))


def write_folders(file: Path, folders: Folders) -> None:
    file.write_text(json.dumps(folders, sort_keys=True, separators=(",", ":")), encoding="utf-8")


def below(image: Output) -> Below:
    """A baked image as what another stands on."""
    return Below(layers=image.manifest.facts["layers"], folders=read_folders(image.path(FOLDERS)))


def folders_of(tarball: Path) -> Folders:
    """Every folder in a tar."""
    with tarfile.open(tarball) as archive:
        return {_path(member): _attributes(member) for member in archive if member.isdir()}


def canonical_layer(image: str, diff_ids: Sequence[str], lower: Folders, target: Path) -> Layer:
    """Write the top layer of an image in buildah's storage to `target`; `lower` are the folders below it.

    Raises:
        BakeError: buildah does not give it.
    """
    with temporary_folder("layer") as folder:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for below in diff_ids[:-1]:  # what is there already is not copied, and nobody reads it
            (blobs / below.removeprefix("sha256:")).touch()
        argv = ["buildah", "push", "--quiet", "--disable-compression", image, f"oci:{folder}"]
        command.run(Command(argv=argv, env=powers.storage_environment(), error=BakeError))
        whole = folder / "layer.tar"
        _unpack(_top_blob(folder), whole)
        write_canonical(whole, lower, target)
    content = hashlib.sha256()
    with target.open("rb") as stream:
        while part := stream.read(1 << 20):
            content.update(part)
    return Layer(file=target, digest=f"sha256:{content.hexdigest()}", size=target.stat().st_size)


def _top_blob(folder: Path) -> Path:
    def blob(digest: str) -> Path:
        return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    manifest = json.loads(blob(entry["digest"]).read_bytes())
    return blob(manifest["layers"][-1]["digest"])


def _unpack(blob: Path, target: Path) -> None:
    with blob.open("rb") as head:
        zipped = head.read(2) == b"\x1f\x8b"
    with gzip.open(blob) if zipped else blob.open("rb") as source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


def write_canonical(layer: Path, lower: Folders, target: Path) -> None:
    """The same layer sorted by path, in one dialect, without folders that are as below and hold nothing of it."""
    with tarfile.open(layer) as source, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:
        members = source.getmembers()
        cut = untouched(members, lower)
        for member, origin in in_order([member for member in members if member.name not in cut]):
            out.addfile(member, source.extractfile(origin) if origin.isreg() else None)


def in_order(members: Sequence[tarfile.TarInfo]) -> list[tuple[tarfile.TarInfo, tarfile.TarInfo]]:
    """(what to write, whose content), sorted. The first of several names of a file has the content, the others link."""
    names: dict[str, list[str]] = {}  # of a file in this layer -> all that it has
    for member in members:
        names.setdefault(member.linkname if member.islnk() else member.name, []).append(member.name)
    by_name = {member.name: member for member in members}
    first = {file: min(every) for file, every in names.items()}
    written = []
    for member in members:
        file = member.linkname if member.islnk() else member.name
        origin = by_name.get(file, member)
        leads = member.name == first[file]
        link = first[file] if not leads else origin.linkname
        kind = origin.type if leads else tarfile.LNKTYPE
        size = origin.size if leads else 0
        extended = {name: value for name, value in origin.pax_headers.items() if name.startswith(XATTR)}
        one = copy.copy(origin)
        one.name, one.linkname, one.type, one.size, one.pax_headers = member.name, link, kind, size, extended
        written.append((one, origin if leads else member))
    return sorted(written, key=lambda pair: _path(pair[0]))


def untouched(members: Sequence[tarfile.TarInfo], lower: Folders) -> set[str]:
    """Names of the folders that say nothing."""
    needed: set[str] = set()
    found: set[str] = set()
    for member in sorted(members, key=_path, reverse=True):  # what lies in a folder comes before it
        path = _path(member)
        same = member.isdir() and not member.pax_headers and list(lower.get(path, ())) == _attributes(member)
        if same and path not in needed:
            found.add(member.name)
        else:
            needed.update(str(parent) for parent in Path(path).parents)
    return found


def _path(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix("./").strip("/")


def _attributes(member: tarfile.TarInfo) -> list[int]:
    return [member.mode & 0o7777, member.uid, member.gid]
