"""Differences fetched from disk and image storage, explained, and kept for a person to look at."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xwhep_packaging import command
from xwhep_packaging.artefacts import Output
from xwhep_packaging.command import Command
from xwhep_packaging.store import remove_tree
from xwhep_packaging.temporary import temporary_folder
from xwhep_packaging.verify.causes import Known
from xwhep_packaging.verify.explain import Finding, explain

ENVIRONMENT = re.compile(rb"^Environment:\n(?: .*\n?)+", re.M)
SUMS_OF_BUILDINFO = re.compile(rb"^ [0-9a-f]{32,64} .*\.buildinfo\n", re.M)
DIFFOSCOPE = "diffoscope"
DIFFOSCOPE_LIMIT_S = 120.0


def of_file(label: str, paths: tuple[Path, Path], known: Known) -> list[Finding]:
    """What differs between two files; one that is missing is a difference too."""
    present = [path.is_file() for path in paths]
    if not all(present):
        words = ["there" if there else "not there" for there in present]
        return [Finding(file=label, member="", offset=0, first=words[0], second=words[1], cause="unpinned input")]
    sides = [comparable(path.name, path.read_bytes()) for path in paths]
    return explain(label, (sides[0], sides[1]), known)


def comparable(name: str, content: bytes) -> bytes:
    """What of a file has to be the same: a .buildinfo's purpose is to say in which environment a build ran, and a
    .changes file holds the sums of that .buildinfo."""
    if name.endswith(".buildinfo"):
        return ENVIRONMENT.sub(b"", content)
    return SUMS_OF_BUILDINFO.sub(b"", content) if name.endswith(".changes") else content


def of_layers(step: str, facts: tuple[Mapping[str, Any], Mapping[str, Any]], known: Known) -> Iterator[Finding]:
    """What differs in the layers of two images, read from the image storage."""
    layers = facts[0]["layers"], facts[1]["layers"]
    if len(layers[0]) != len(layers[1]):
        counts = str(len(layers[0])), str(len(layers[1]))
        yield Finding(file=step, member="layers", offset=0, first=counts[0], second=counts[1], cause="unpinned input")
        return
    with temporary_folder("layers") as folder:
        blobs = [_layers(str(side["digest"]), folder / str(number)) for number, side in enumerate(facts)]
        for number, (first, second) in enumerate(zip(*layers, strict=True)):
            if first != second:
                sides = (blobs[0][number].read_bytes(), blobs[1][number].read_bytes())
                yield from explain(f"{step} layer {number}", sides, known)


def _layers(digest: str, folder: Path) -> list[Path]:
    """The layers of an image as files, lowest first."""
    folder.mkdir()
    command.run(Command(argv=["buildah", "push", "--quiet", "--disable-compression", digest, f"oci:{folder}:image"]))
    blobs = folder / "blobs" / "sha256"
    index = _json(folder / "index.json")
    manifest = _json(blobs / _hex(index["manifests"][0]["digest"]))
    return [blobs / _hex(layer["digest"]) for layer in manifest["layers"]]


def keep(folder: Path, found: tuple[Finding, ...], sides: tuple[Mapping[str, Output], Mapping[str, Output]]) -> None:
    """Both sides of every file that differs and, where diffoscope is installed, its page beside them."""
    remove_tree(folder)
    for file in sorted({finding.file for finding in found}):
        step, _, name = file.partition(" ")
        for side, outputs in zip(("first", "again"), sides, strict=True):
            source = next((o.folder / name for o in outputs.values() if _step(o) == step), None)
            if name and source and source.is_file():
                (folder / side / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / side / name)
        if (folder / "first" / name).is_file() and (folder / "again" / name).is_file():
            _diffoscope(folder, name)


def _step(output: Output) -> str:
    return f"{output.manifest.stage}:{output.manifest.name}"


def _diffoscope(folder: Path, name: str) -> None:
    """Not required: what it is asked for is beside what was said already."""
    if shutil.which(DIFFOSCOPE, path=command.SYSTEM_PATH):
        argv = [DIFFOSCOPE, "--html", f"{name.replace('/', '_')}.html", f"first/{name}", f"again/{name}"]
        command.run(Command(argv=argv, cwd=folder, timeout_s=DIFFOSCOPE_LIMIT_S), check=False)


def _json(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_bytes())
    return loaded


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
