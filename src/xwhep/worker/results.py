"""What a job left: every regular file it made or changed, hashed; what is left out is named."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from xwhep.common.wire import ResultFile
from xwhep.worker.flag import Flag
from xwhep.worker.retry import Stopped

_CHUNK_BYTES = 1024 * 1024
PATH_LIMIT = 1024  # characters, of the server
_SUFFIX_ROOM = 8
_NAMED = 5  # how many of the files left out are named


@dataclass
class Harvest:
    """Files to deliver, each with where it lies, and notes for the owner of the job."""

    files: list[tuple[ResultFile, Path]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    too_long: list[str] = field(default_factory=list)

    def note(self) -> str:
        """One sentence for people; empty when there is nothing to say."""
        parts = []
        if self.left_out:
            parts.append(f"left out, being no regular files: {_listed(self.left_out)}")
        if self.too_long:
            parts.append(f"left out, their path is longer than {PATH_LIMIT}: {_listed(self.too_long)}")
        if self.renamed:
            parts.append(f"delivered under names in valid UTF-8: {_listed(self.renamed)}")
        return "; ".join(parts)


def harvest(work: Path, placed: Mapping[str, str], cancel: Flag) -> Harvest:
    """Collect a folder in which nothing runs any more. `placed`: sha256 by path of what the worker had put there.

    Raises:
        OSError: a file cannot be read.
        Stopped: `cancel` was set.
    """
    found = Harvest()
    odd: list[tuple[ResultFile, Path]] = []
    for path, figures in _walk(work):
        raw = os.fsencode(path.relative_to(work))
        name = raw.decode("utf-8", "backslashreplace")
        if not stat.S_ISREG(figures.st_mode):
            found.left_out.append(name)
        elif len(name) > PATH_LIMIT - _SUFFIX_ROOM:
            found.too_long.append(name[:80] + "...")
        else:
            sha256, size = hash_file(path, cancel)
            file = ResultFile(path=name, sha256=sha256, size=size, mode=stat.S_IMODE(figures.st_mode) & 0o777)
            if os.fsencode(name) != raw:
                odd.append((file, path))
            elif placed.get(name) != sha256:
                found.files.append((file, path))
    _rename(odd, found)
    return found


def _rename(odd: list[tuple[ResultFile, Path]], found: Harvest) -> None:
    """Deliver files whose names the wire cannot carry under others; last, so that they take nobody's name."""
    taken = {file.path for file, _ in found.files}
    for file, path in odd:
        name = _free(file.path, taken)
        taken.add(name)
        found.renamed.append(name)
        found.files.append((msgspec.structs.replace(file, path=name), path))


def hash_file(path: Path, cancel: Flag) -> tuple[str, int]:
    """sha256 and size in bytes of a regular file, never through a link."""
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if cancel.is_set():
                raise Stopped
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _walk(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything below but folders. Permissions the job took away are put back: all is ours by now."""
    pending = [folder]
    while pending:
        current = pending.pop()
        current.chmod(0o700)
        inner = sorted(Path(entry.path) for entry in os.scandir(current))
        for path in inner:
            figures = path.lstat()
            if stat.S_ISDIR(figures.st_mode):
                pending.append(path)
                continue
            if stat.S_ISREG(figures.st_mode) and not figures.st_mode & stat.S_IRUSR:
                path.chmod(stat.S_IMODE(figures.st_mode) | stat.S_IRUSR)
            yield path, figures


def _free(name: str, taken: set[str]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}.{number}"
    return candidate


def _listed(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
