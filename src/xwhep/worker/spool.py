"""Finished results on this disk, from before the server hears of them until it says it has them.

    spool/JOB.ATTEMPT/result.json   a WorkResult, with the contents of its small files
    spool/JOB.ATTEMPT/files/0 1 ..  stdout, stderr, then each file, in the order result.json names them; the large ones

Large files are moved here, not copied: a full disk cannot lose them. Small ones need no sync of their own.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from xwhep.common.durable import sync, write_private
from xwhep.common.wire import JobResult, ResultFile, WorkResult
from xwhep.common.wire_bulk import INLINE_BYTES

log = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}\.\d+")
_RESULT = "result.json"
REJECTED_KEPT = 16


PARCEL_BYTES = 256 * 1024  # of contents in one result.json, of which each has INLINE_BYTES at most


class _Stored(WorkResult, frozen=True, kw_only=True):
    contents: dict[str, bytes] = {}  # by sha256


@dataclass(frozen=True)
class Parcel:
    """One stored result. `contents`: what is kept, and travels, with the message itself, by sha256."""

    folder: Path
    message: WorkResult
    contents: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.folder.name

    def __str__(self) -> str:
        return f"job {self.message.job_id} attempt {self.message.attempt}"

    @property
    def inline_bytes(self) -> int:
        return sum(map(len, self.contents.values()))

    def files(self) -> list[tuple[ResultFile, Path]]:
        """Everything to upload and where it lies."""
        return [
            (file, self.folder / "files" / str(number))
            for number, file in enumerate(listed(self.message.result))
            if file.size and file.sha256 not in self.contents
        ]


def listed(result: JobResult) -> list[ResultFile]:
    return [result.stdout, result.stderr, *result.files]


def _small_contents(message: WorkResult, paths: Sequence[Path]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    left = PARCEL_BYTES
    for file, path in zip(listed(message.result), paths, strict=True):
        if 0 < file.size <= min(INLINE_BYTES, left) and file.sha256 not in contents:
            contents[file.sha256] = path.read_bytes()
            left -= file.size
    return contents


def key_of(job_id: str, attempt: int) -> str:
    """The folder name of an attempt, usable when `is_key` says so."""
    return f"{job_id}.{attempt}"


def is_key(name: str) -> bool:
    """Whether a name is safe as that of a folder: the server chose the job's id."""
    return bool(_KEY.fullmatch(name))


class Spool:
    """The store of finished results below `state`."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "spool"
        self._rejected = state / "rejected"
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def put(self, message: WorkResult, paths: Sequence[Path]) -> Parcel:
        """Store a result: once this returns, it survives a power cut. `paths` of all its files, as `listed` has them;
        large ones are moved.

        Raises:
            OSError: the disk is full or broken.
        """
        key = key_of(message.job_id, message.attempt)
        making, final = self._folder / f".{key}.new", self._folder / key
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        parcel = Parcel(final, message, _small_contents(message, paths))
        if large := parcel.files():
            self._move(paths, [int(place.name) for _, place in large], making / "files")
        stored = _Stored(**msgspec.structs.asdict(message), contents=dict(parcel.contents))
        write_private(making / _RESULT, msgspec.json.encode(stored))
        making.rename(final)
        sync(self._folder)
        return parcel

    def _move(self, paths: Sequence[Path], numbers: Sequence[int], folder: Path) -> None:
        folder.mkdir(mode=0o700)
        for number in numbers:
            target = folder / str(number)
            paths[number].rename(target)
            sync(target)
        sync(folder)

    def parcels(self) -> list[Parcel]:
        """What is waiting, oldest first. Leftovers of a write cut short are removed: nobody was told of them."""
        found = []
        for folder in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime):
            if not is_key(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                stored = msgspec.json.decode((folder / _RESULT).read_bytes(), type=_Stored)
            except (OSError, msgspec.DecodeError) as exc:
                log.error("%s is damaged and set aside: %s", folder, exc)
                self.reject(folder)
                continue
            message = WorkResult(job_id=stored.job_id, attempt=stored.attempt, result=stored.result)
            found.append(Parcel(folder, message, stored.contents))
        return found

    def drop(self, parcel: Parcel) -> None:
        """The server has it, or does not want it. By the rename it vanishes at once, never half."""
        gone = parcel.folder.with_name(f".{parcel.key}.gone")
        parcel.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def reject(self, folder: Path) -> None:
        """Keep what the server cannot read for people to look at; the newest few only."""
        self._rejected.mkdir(mode=0o700, exist_ok=True)
        target = self._rejected / folder.name
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
        old = sorted(self._rejected.iterdir(), key=lambda path: path.stat().st_mtime)[:-REJECTED_KEPT]
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
