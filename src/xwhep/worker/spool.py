"""Finished results on this disk, from before the server hears of them until it says it has them.

    spool/JOB.ATTEMPT/result.json   a WorkResult
    spool/JOB.ATTEMPT/files/0 1 ..  stdout, stderr, then each file, in the order result.json names them

Files are moved here, not copied: a full disk cannot lose a result.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from xwhep.common.durable import sync, write_private
from xwhep.common.wire import ResultFile, WorkResult

log = logging.getLogger(__name__)

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}\.\d+")
_RESULT = "result.json"
REJECTED_KEPT = 16


@dataclass(frozen=True)
class Parcel:
    """One stored result."""

    folder: Path
    message: WorkResult

    @property
    def key(self) -> str:
        return self.folder.name

    def __str__(self) -> str:
        return f"job {self.message.job_id} attempt {self.message.attempt}"

    def files(self) -> list[tuple[ResultFile, Path]]:
        """Everything to upload and where it lies."""
        result = self.message.result
        return [
            (file, self.folder / "files" / str(number))
            for number, file in enumerate(listed(result.stdout, result.stderr, result.files))
        ]


def listed(stdout: ResultFile, stderr: ResultFile, files: Sequence[ResultFile]) -> list[ResultFile]:
    return [stdout, stderr, *files]


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
        """Store a result: once this returns, it survives a power cut. `paths` are moved, ordered as `Parcel.files`.

        Raises:
            OSError: the disk is full or broken.
        """
        key = key_of(message.job_id, message.attempt)
        making, final = self._folder / f".{key}.new", self._folder / key
        shutil.rmtree(making, ignore_errors=True)
        (making / "files").mkdir(parents=True, mode=0o700)
        for number, path in enumerate(paths):
            target = making / "files" / str(number)
            path.rename(target)
            sync(target)
        sync(making / "files")
        write_private(making / _RESULT, msgspec.json.encode(message))
        making.rename(final)
        sync(self._folder)
        return Parcel(final, message)

    def parcels(self) -> list[Parcel]:
        """What is waiting, oldest first. Leftovers of a write cut short are removed: nobody was told of them."""
        found = []
        for folder in sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime):
            if not is_key(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                message = msgspec.json.decode((folder / _RESULT).read_bytes(), type=WorkResult)
            except (OSError, msgspec.DecodeError) as exc:
                log.error("%s is damaged and set aside: %s", folder, exc)
                self.reject(folder)
                continue
            found.append(Parcel(folder, message))
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
