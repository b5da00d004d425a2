"""Programs and data by content: downloaded once, resumed after a break, verified at every use, bounded in size.

    server --GET, Range--> cache/SHA.part --whole and right--> cache/SHA --copied and hashed--> the job's folder

A job never gets a link into the cache, so nothing it does to its copy can reach another job.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from collections import defaultdict
from pathlib import Path

from xwhep.common.errors import DiskFull, ServerFailed
from xwhep.worker.flag import Flag
from xwhep.worker.machine import disk_free
from xwhep.worker.retry import Stopped, patiently
from xwhep.worker.session import Session

log = logging.getLogger(__name__)

RESERVE_BYTES = 64 * 2**20  # of the disk, never filled by downloads: results need room too
WRONG_LIMIT = 3
_CHUNK_BYTES = 1024 * 1024


class Cache:
    """Blobs of one server under `folder`. Threads may share it; the state folder's lock keeps other processes out."""

    def __init__(self, folder: Path, max_bytes: int, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._folder, self._max_bytes, self._reserve_bytes = folder, max_bytes, reserve_bytes
        folder.mkdir(mode=0o700, exist_ok=True)
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def place(self, sha256: str, size: int, target: Path, source: Download) -> None:
        """Write the blob to the new file `target`, verified; download it first unless it is here already.

        Raises:
            DiskFull: no room for it.
            ServerFailed: the server keeps sending something else, or has it not.
            Stopped: `source.stop` was set.
        """
        with self._lock_of(sha256):
            kept = self._folder / sha256
            if kept.exists() and _copy(kept, target, sha256, source.stop):
                os.utime(kept)
                return
            with contextlib.suppress(FileNotFoundError):
                kept.unlink()  # damaged since: made again
            self._make_room(size, keep=f"{sha256}.part")
            source.fetch(sha256, size, kept)
            if not _copy(kept, target, sha256, source.stop):
                raise ServerFailed(f"the disk under {self._folder} does not give back what was written to it")
        self._shrink(self._max_bytes, keep=sha256)

    def _lock_of(self, sha256: str) -> threading.Lock:
        with self._guard:
            return self._locks[sha256]

    def _make_room(self, size: int, keep: str) -> None:
        # What is kept here may go twice over: the blob comes to the cache, then to the job's folder.
        needed = 2 * size + self._reserve_bytes
        missing = needed - disk_free(self._folder)
        if missing > 0:
            self._shrink(max(0, self._total() - missing), keep)
        if disk_free(self._folder) < needed:
            raise DiskFull(f"{size} bytes do not fit on the disk of {self._folder}", "free some space for the worker")

    def clear(self) -> None:
        """Give every byte back: a result that must be kept is worth more."""
        self._shrink(0, keep="")

    def _entries(self) -> list[tuple[float, int, Path]]:
        entries = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):
                figures = entry.stat()
                entries.append((figures.st_mtime, figures.st_size, Path(entry.path)))
        return sorted(entries)

    def _total(self) -> int:
        return sum(size for _, size, _ in self._entries())

    def _shrink(self, limit: int, keep: str) -> None:
        """Remove what was used longest ago until `limit` bytes remain; readers of a removed file are not disturbed."""
        with self._guard:
            total = self._total()
            for _, size, path in self._entries():
                if total <= limit:
                    break
                if path.name != keep:
                    path.unlink(missing_ok=True)
                    total -= size


class Download:
    """Brings blobs from the server, for as long as `stop` is not set."""

    def __init__(self, session: Session, stop: Flag) -> None:
        self.session, self.stop = session, stop

    def fetch(self, sha256: str, size: int, target: Path) -> None:
        """Download to `target`, resuming what an earlier try left.

        Raises: as `Cache.place`.
        """
        part = target.with_name(f"{sha256}.part")
        for _ in range(WRONG_LIMIT):
            found = patiently(lambda: self._append(sha256, size, part), self.stop, f"downloading {sha256[:12]}")
            if found == sha256:
                part.replace(target)
                return
            log.warning("blob %s came with another content (%s): downloading again", sha256[:12], found[:12])
            part.unlink(missing_ok=True)
        raise ServerFailed(f"the server sent {WRONG_LIMIT} times something else than blob {sha256}")

    def _append(self, sha256: str, size: int, part: Path) -> str:
        """Continue `part`; the hash of it when the server has no more to send."""
        try:
            with part.open("ab+") as stream:
                digest = hashlib.sha256()
                offset = self._hash_present(stream.fileno(), digest, size)
                if offset == size and size:
                    return digest.hexdigest()
                with self.session.get_blob(sha256, offset) as (start, pieces):
                    if start != offset:
                        digest = hashlib.sha256()
                        os.ftruncate(stream.fileno(), 0)
                    for piece in pieces:
                        if self.stop.is_set():
                            raise Stopped
                        digest.update(piece)
                        stream.write(piece)
                        if stream.tell() > size:  # never let a server fill the disk
                            break
                return digest.hexdigest()
        except OSError as exc:
            raise DiskFull(f"blob {sha256[:12]} cannot be stored: {exc}", "free some space for the worker") from exc

    def _hash_present(self, descriptor: int, digest: hashlib._Hash, size: int) -> int:
        present = os.fstat(descriptor).st_size
        if present > size:
            os.ftruncate(descriptor, 0)
            return 0
        os.lseek(descriptor, 0, os.SEEK_SET)
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            digest.update(chunk)
        return present


def _copy(source: Path, target: Path, sha256: str, stop: Flag) -> bool:
    """Copy and hash in one pass; False, and no target, when the content is not what its name says."""
    digest = hashlib.sha256()
    try:
        with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
            while chunk := reader.read(_CHUNK_BYTES):
                if stop.is_set():
                    raise Stopped
                digest.update(chunk)
                _write_all(writer.fileno(), chunk)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise DiskFull(f"{target.name} cannot be written: {exc}", "free some space for the worker") from exc
    if digest.hexdigest() == sha256:
        return True
    target.unlink()
    return False


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
