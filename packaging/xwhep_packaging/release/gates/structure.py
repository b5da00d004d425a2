"""The gate `structure`: what is made sure of in every image, and who brings its megabytes.

Tree, what the settings expect ──> user, ports, labels, shells, modes, size ──> problems in words, or none
"""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from xwhep_packaging.artefacts import rfc3339
from xwhep_packaging.definitions import Image
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.bills.contents import Tree
from xwhep_packaging.release.gates.kept import Gate

NAME = "structure"
MEGABYTE = 1_000_000
SHOWN = 8
LABELS = ("title", "revision", "source", "version", "created")
SHELLS = frozenset(
    {"ash", "bash", "busybox", "csh", "dash", "elvish", "fish", "ksh", "ksh93", "mksh", "tcsh", "xonsh", "yash", "zsh"}
)
SET_ID = 0o6000
FOR_ALL = 0o002
STICKY = 0o1000
SHARED = frozenset({"/tmp", "/var/tmp", "/run/lock"})  # noqa: S108 - names of folders in an image
NOBODY = "files that no package owns"
FORM = "how layers store it"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An image: its settings, what it holds, and what the build says of it (a row of latest.json)."""

    name: str
    settings: Image
    tree: Tree
    row: Mapping[str, Any]


def gate(pipeline: Pipeline, subjects: Callable[[], Sequence[Subject]]) -> Gate:
    """Decided by the images, and by what the settings expect of each."""
    images = pipeline.settings.images
    expected = {
        f"of {name}": json.dumps([image.ports, msgspec.to_builtins(image.expects)]) for name, image in images.items()
    }
    inputs = {**pipeline.keys(*(f"images:{name}" for name in images)), **expected}
    return Gate(name=NAME, inputs=inputs, check=lambda: check(subjects()))


def check(subjects: Sequence[Subject]) -> Sequence[str]:
    """All images, and all that is wrong with them at once; returns their names.

    Raises:
        ReleaseError: something is.
    """
    found = [f"{subject.name}: {problem}" for subject in subjects for problem in problems(subject)]
    if found:
        more = f"\nand {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise ReleaseError(
            "an image is not as it has to be",
            cause="\n".join(found[:SHOWN]) + more,
            next_step="mend its Containerfile, [base], or what [images.NAME.expects] says; skip=structure goes without",
        )
    return [subject.name for subject in subjects]


def problems(subject: Subject) -> Iterator[str]:
    for part in (_user, _ports, _labels, _modes, _shells, _size):
        yield from part(subject)


def _user(subject: Subject) -> Iterator[str]:
    user = str(subject.tree.config.get("User", ""))
    number = user.partition(":")[0]
    if not number.isdigit() or int(number) == 0:
        yield f"runs as {user or 'root'!r}: a number other than 0 is wanted"


def _ports(subject: Subject) -> Iterator[str]:
    wanted = {f"{port}/tcp" for port in subject.settings.expects.ports or subject.settings.ports}
    announced = set(subject.tree.config.get("ExposedPorts") or {})
    if announced != wanted:
        yield f"announces the ports {_listed(announced)} instead of {_listed(wanted)}"


def _labels(subject: Subject) -> Iterator[str]:
    labels = subject.tree.config.get("Labels") or {}
    said = {name: str(labels.get(f"org.opencontainers.image.{name}", "")) for name in LABELS}
    if missing := [name for name, value in said.items() if not value]:
        yield f"lacks the labels {_listed(missing)}"
    wanted = {"version": str(subject.row["version"]), "created": rfc3339(int(subject.row["epoch"]))}
    for name, value in wanted.items():
        if said[name] and said[name] != value:
            yield f"its label {name} is {said[name]!r} instead of {value!r}"


def _modes(subject: Subject) -> Iterator[str]:
    for path, entry in sorted(subject.tree.files.items()):
        if entry.kind == "file" and entry.mode & SET_ID:
            yield f"{path} is setuid or setgid ({entry.mode:04o})"
        elif entry.kind == "other":
            yield f"{path} is a device or a pipe"
        shared = path in SHARED and entry.mode & STICKY
        if entry.kind != "link" and entry.mode & FOR_ALL and not shared:
            yield f"{path} can be written by everybody ({entry.mode:04o})"


def _shells(subject: Subject) -> Iterator[str]:
    expected = subject.settings.expects.shells
    files = {path for path, entry in subject.tree.files.items() if entry.kind == "file" and entry.mode & 0o111}
    found = {name: path for path in sorted(files) if (name := posixpath.basename(path)) in SHELLS}
    yield from (f"{path} is a shell that has no business there" for name, path in found.items() if name not in expected)
    yield from (f"says why it has {name}, and has it not" for name in sorted({*expected} - {*found}))


def _size(subject: Subject) -> Iterator[str]:
    most = subject.settings.expects.size_mb * MEGABYTE
    if most and subject.tree.size > most:
        share = account(subject.tree)
        largest = ", ".join(f"{name} {size / MEGABYTE:.1f}" for name, size in list(share.items())[:SHOWN])
        yield f"has {subject.tree.size / MEGABYTE:.1f} MB, {most / MEGABYTE:.0f} at most; of it: {largest}"


def account(tree: Tree) -> dict[str, int]:
    """Bytes by package, largest first: real sizes of the files that are there, byte code with its source."""
    found = Counter[str]()
    for path, entry in tree.files.items():
        found[tree.owners.get(path, NOBODY)] += entry.size if entry.kind == "file" else 0
    found[FORM] = max(0, tree.size - found.total())
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def sizes(subjects: Sequence[Subject]) -> dict[str, Any]:
    """sizes.json of a release; all in bytes, budget 0: none."""
    return {
        subject.name: {
            "size": subject.tree.size,
            "budget": subject.settings.expects.size_mb * MEGABYTE,
            "packages": account(subject.tree),
        }
        for subject in subjects
    }


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "none"
