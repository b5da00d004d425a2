"""A backup of the whole state in one file, made while the server runs.

    tar: xwhep-backup.json   format, version, time          │ then "sha256 HASH" of all before it, so that
         *.db                consistent copies by SQLite     │ one changed byte, or a missing end, is noticed
         ca.key, ca.pem ...  keys, tokens                   │
         blobs/ab/cdef...    contents                       │
         SHA256SUMS          of every file above            │

The database first, then the blobs: while that lasts the server removes no blob, so none that the copy names is missing.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from xwhep.common.errors import DiskFull, UsageError
from xwhep.common.version import VERSION
from xwhep.server.backup_lock import nothing_removed
from xwhep.server.failures import StateDamaged

FORMAT = 1
HEADER, SUMS = "xwhep-backup.json", "SHA256SUMS"
SECRETS = ("ca.key", "ca.pem", "server.pem", "server.json", "admin.login", "join.token")
BUSY_TIMEOUT_S = 30.0
TRAILER_BYTES = len("sha256 ") + 64 + 1


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def trailer(digest: str) -> bytes:
    return f"sha256 {digest}\n".encode()


@dataclass(kw_only=True)
class _Out:
    """What is written, hashed on its way; what goes wrong is told as a fault of the backup's file, not of the state."""

    sink: Sink
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    written: int = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.written += len(data)
        try:
            self.sink.write(data)
        except BrokenPipeError:
            raise
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("there is no room for the backup", "choose another disk") from exc
            raise UsageError(f"the backup cannot be written: {exc}", "choose another file") from exc
        return len(data)


@dataclass(kw_only=True)
class _Read:
    """A file that is hashed while tarfile reads it."""

    file: IO[bytes]
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        return data


@dataclass(frozen=True, kw_only=True)
class Made:
    """`missing`: contents that the database names and the disk has not; the backup is as good as the state was."""

    size: int
    blobs: int
    missing: int


def write_backup(state: Path, sink: Sink) -> Made:
    """Copy the state in the folder `state` to `sink`, whether a server works on it or not.

    Raises:
        FileNotFoundError: there is no grid in it yet.
        StateDamaged: the database is.
        DiskFull, UsageError: `sink` takes no more.
    """
    (state / "xwhep.db").stat()
    out, sums, named = _Out(sink=sink), dict[str, str](), set[str]()
    header = {"format": FORMAT, "version": VERSION, "made_at": int(time.time())}
    with nothing_removed(state), tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT) as tar:  # type: ignore[call-overload]
        _add_text(tar, HEADER, json.dumps(header) + "\n", sums)
        for database in sorted(state.glob("*.db")):
            with _snapshot(database) as copy:
                named |= _check(copy)
                _add_file(tar, database.name, copy, sums)
        for name in SECRETS:
            if (state / name).exists():
                _add_file(tar, name, state / name, sums)
        blobs = list(_blobs(state))
        for path in blobs:
            _add_file(tar, str(path.relative_to(state)), path, sums)
        _add_text(tar, SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()), {})
    out.write(trailer(out.digest.hexdigest()))
    there = {path.parent.name + path.name for path in blobs}
    return Made(size=out.written, blobs=len(blobs), missing=len(named - there))


@contextmanager
def _snapshot(database: Path) -> Iterator[Path]:
    """A consistent copy, in a file of the state folder while it is needed."""
    own = str(os.getpid())
    for leftover in database.parent.glob(".backup-*"):
        maker = leftover.suffix[1:]
        if (
            maker == own or not Path("/proc", maker).exists()
        ):  # it was killed; a restarted container counts from 1 again
            leftover.unlink()
    copy = database.with_name(f".backup-{database.stem}.{os.getpid()}")
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with (
            closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT_S)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)  # all pages in one read transaction, beside which others go on writing
            target.execute("PRAGMA journal_mode = DELETE")
        yield copy
    finally:
        copy.unlink()


def _check(copy: Path) -> set[str]:
    """The contents that it names. Raises: StateDamaged."""
    with closing(sqlite3.connect(copy)) as connection:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise StateDamaged(f"the database is damaged: {verdict}", "restore it from an older backup")
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        named: set[str] = set()
        for table in tables & {"data", "app_blobs", "job_blobs"}:
            named |= {row[0] for row in connection.execute(f"SELECT sha256 FROM {table}")}  # noqa: S608 - our own names
        for table in tables & {"small_blobs"}:
            named -= {row[0] for row in connection.execute(f"SELECT sha256 FROM {table}")}  # noqa: S608
        return named


def _blobs(state: Path) -> Iterator[Path]:
    for folder in sorted((state / "blobs").iterdir()):
        yield from sorted(folder.iterdir())


def _add_file(tar: tarfile.TarFile, name: str, path: Path, sums: dict[str, str]) -> None:
    with path.open("rb") as file:
        info = _info(name, os.fstat(file.fileno()).st_size)
        reader = _Read(file=file)
        tar.addfile(info, reader)
    sums[name] = reader.digest.hexdigest()


def _add_text(tar: tarfile.TarFile, name: str, text: str, sums: dict[str, str]) -> None:
    content = text.encode()
    tar.addfile(_info(name, len(content)), io.BytesIO(content))
    sums[name] = hashlib.sha256(content).hexdigest()


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    return info
