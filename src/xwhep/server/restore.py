"""A backup back into a state folder: first all of it beside the state, and verified; then, in one go, in its place.

file ─► STATE/.restore/new   every name known, every hash right, the end there, a database that this server reads
     ─► what was in STATE moves to STATE/.restore/old, what is new into STATE
     ─► STATE/.restore is removed; while it is there no server starts
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from xwhep.common.durable import sync
from xwhep.common.errors import Conflict
from xwhep.server.backup import FORMAT, HEADER, SECRETS, SUMS, TRAILER_BYTES, trailer
from xwhep.server.failures import BackupDamaged, StateTooNew
from xwhep.server.state import StateFolder, locked
from xwhep.server.store.queries import migrations

CHUNK_BYTES = 1024 * 1024
_FIXED = frozenset({HEADER, *SECRETS})
_NAMES = re.compile(r"[a-z]+\.db|blobs/[0-9a-f]{2}/[0-9a-f]{62}")
_SUM = re.compile(r"([0-9a-f]{64})  (\S+)")
ANOTHER = "take another backup"


class _Body:
    """All of a stream but its trailer, hashed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._held = b""
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        while len(self._held) < size + TRAILER_BYTES and (more := self._stream.read(size)):
            self._held += more
        count = max(0, min(size, len(self._held) - TRAILER_BYTES))
        data, self._held = self._held[:count], self._held[count:]
        self._digest.update(data)
        return data

    def check_end(self) -> None:
        """Raises: BackupDamaged: the rest is not what was written, or is not there."""
        while self.read(CHUNK_BYTES):
            pass
        if self._held != trailer(self._digest.hexdigest()):
            raise BackupDamaged("the backup was cut or changed, or is none", ANOTHER)


def restore(state: Path, source: IO[bytes], *, force: bool) -> int:
    """Make the state in the folder `state` what it was; returns how many files that were.

    Raises:
        StateInUse: a server works on it.
        Conflict: there is a state already, and no `force`.
        BackupDamaged, StateTooNew: nothing was changed.
    """
    made = not state.exists()
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with locked(StateFolder(path=state)):
            _refuse_full(state, force)
            with _workshop(state) as (new, old):
                count = _unpack(source, new)
                _check_database(new)
                _give_to_owner(state, new)
                _swap(state, new, old)
        return count
    finally:
        if made and not (state / "xwhep.db").exists():
            shutil.rmtree(state)


def _refuse_full(state: Path, force: bool) -> None:
    there = sorted(path.name for path in _contents(state))
    if there and not force and not StateFolder(path=state).half_restored:
        raise Conflict(
            f"there is a state in {state} already: {', '.join(there[:3])} ...", "replace it all with: --force"
        )


def _contents(state: Path) -> Iterator[Path]:
    for path in state.iterdir():
        empty_folder = path.is_dir() and not any(path.iterdir())
        if path.name not in ("lock", "lost+found", ".restore") and not empty_folder:
            yield path


@contextmanager
def _workshop(state: Path) -> Iterator[tuple[Path, Path]]:
    folder = StateFolder(path=state).restoring
    cut_short = StateFolder(path=state).half_restored  # only a whole restore ends that
    _clear(folder / "new")
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / "new").mkdir(mode=0o700)
    try:
        yield folder / "new", folder / "old"
    except BaseException:
        _clear(folder / "new" if cut_short or (folder / "old").exists() else folder)
        raise
    _clear(folder)


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _unpack(source: IO[bytes], new: Path) -> int:
    body, found, sums = _Body(source), dict[str, str](), ""
    try:
        with tarfile.open(fileobj=body, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or sums or member.name in found:
                    raise BackupDamaged(f"the backup holds what no backup does: {member.name!r}", ANOTHER)
                if member.name == SUMS:
                    sums = content.read().decode("ascii", "replace")
                else:
                    found[member.name] = _write(content, new / _known(member.name))
    except (tarfile.TarError, EOFError) as exc:
        raise BackupDamaged(f"the backup cannot be read: {exc}", ANOTHER) from exc
    body.check_end()
    listed = [_SUM.fullmatch(line) for line in sums.splitlines()]
    if {one[2]: one[1] for one in listed if one} != found or None in listed:
        raise BackupDamaged("the backup's files are not those of its list", ANOTHER)
    _check_header(new / HEADER)
    return len(found)


def _known(name: str) -> str:
    if name not in _FIXED and not _NAMES.fullmatch(name):
        raise BackupDamaged(f"the backup holds what no backup does: {name!r}", ANOTHER)
    return name


def _write(content: IO[bytes], path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while data := content.read(CHUNK_BYTES):
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _check_header(path: Path) -> None:
    try:
        known = json.loads(path.read_bytes())["format"] == FORMAT
    except (FileNotFoundError, ValueError, KeyError, TypeError) as exc:
        raise BackupDamaged("this is no backup", ANOTHER) from exc
    if not known:
        raise StateTooNew("a newer server made this backup", "install that version, or a newer one")
    path.unlink()


def _check_database(new: Path) -> None:
    try:
        with closing(sqlite3.connect(new / "xwhep.db")) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok" or not version:
                raise BackupDamaged("the backup's database is damaged", ANOTHER)
    except sqlite3.Error as exc:
        raise BackupDamaged(f"the backup's database is damaged: {exc}", ANOTHER) from exc
    if version > migrations()[-1][0]:
        raise StateTooNew("a newer server made this backup", "install that version, or a newer one")


def _give_to_owner(state: Path, new: Path) -> None:
    """Root restores for the server's own user."""
    if os.geteuid() == 0:
        owner = state.stat()
        for path in (state / "lock", new, *new.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _swap(state: Path, new: Path, old: Path) -> None:
    for folder in (new, *(path for path in new.rglob("*") if path.is_dir())):
        sync(folder)
    old.mkdir(mode=0o700, exist_ok=True)
    for folder in (new.parent, state):
        sync(folder)
    for path in list(state.iterdir()):
        if path.name not in ("lock", "lost+found", ".restore"):
            target = old / path.name
            if target.exists():  # of a restore that was cut short: that one's new state, in part
                _clear(target) if target.is_dir() else target.unlink()
            path.rename(target)
    for path in list(new.iterdir()):
        path.rename(state / path.name)
    sync(state)
