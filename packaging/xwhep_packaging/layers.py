"""The top layer of an image without what its storage alone put there.

image ── buildah push, the layers below left out ──> top layer ── folders that nothing changed cut out ──> layer.tar

A storage on overlayfs lists every folder in which a file came and went; others list none of these.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BakeError
from xwhep_packaging.temporary import temporary_folder

FOLDERS = "folders.json"
Folders = Mapping[str, Sequence[int]]  # path -> mode, uid, gid


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
        argv = ["buildah", "push", "--quiet", image, f"oci:{folder}"]
        command.run(Command(argv=argv, error=BakeError))
        whole = folder / "layer.tar"
        _unpack(_top_blob(folder), whole)
        cut_untouched(whole, lower, target)
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


def cut_untouched(layer: Path, lower: Folders, target: Path) -> None:
    """Copy a layer but for the folders that are as below and hold nothing of this layer."""
    with tarfile.open(layer) as archive:
        members = archive.getmembers()
    ends = [*(member.offset for member in members[1:]), None]
    cut = untouched(members, lower)
    with layer.open("rb") as source, target.open("wb") as out:
        for member, end in zip(members, ends, strict=True):
            source.seek(member.offset)
            if end is None and member.name not in cut:
                shutil.copyfileobj(source, out)
            elif end is None:
                source.seek(member.offset_data)
                shutil.copyfileobj(source, out)
            elif member.name not in cut:
                out.write(source.read(end - member.offset))


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
