"""Files below one folder, whatever the server or a worker calls them: no way out of it, no link followed, no half file.

DIR/part/of/path       walked by descriptor, each step O_NOFOLLOW
       └── .HASH.xw-part   filled, verified, fsynced, then renamed to its name
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from xwhep.client.connection import Server
from xwhep.client.transfer import Blob, get
from xwhep.common.errors import Conflict, ServerFailed

NAME_LIMIT_BYTES = 255
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PART = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: a FIFO must not hang us


class Arrival(NamedTuple):
    """One file to fetch: `path` below the folder, its bytes, its permission bits."""

    path: str
    blob: Blob
    mode: int = 0o644


def checked_parts(path: str) -> tuple[str, ...]:
    """`path` split at "/".

    Raises:
        ServerFailed: it is not a plain path below a folder.
    """
    parts = tuple(path.split("/"))
    for part in parts:
        if part in ("", ".", "..") or "\0" in part or len(part.encode("utf-8", "replace")) > NAME_LIMIT_BYTES:
            raise ServerFailed(f"the server names a file that cannot be in a folder: {path!r}", "nothing was written")
    return parts


def check_together(paths: Sequence[str]) -> None:
    """Refuse a set of paths that cannot exist side by side.

    Raises:
        ServerFailed: one is there twice, is both a file and a folder, or is no plain path.
    """
    files = [checked_parts(path) for path in paths]
    folders = {parts[:length] for parts in files for length in range(1, len(parts))}
    if len(set(files)) < len(files) or folders.intersection(files):
        raise ServerFailed("the server names two files of the same path", "nothing was written")


class Folder:
    """An open folder to put files in. The folder itself may be a link: it is the user's choice."""

    def __init__(self, path: Path, force: bool = False) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._force = force
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def is_there(self, arrival: Arrival) -> bool:
        """True when the file is there already, with the very bytes.

        Raises:
            Conflict: something else has its name, and `force` was not given.
        """
        try:
            with self._parent(checked_parts(arrival.path), make=False) as parent:
                name = arrival.path.rpartition("/")[2]
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and _has_bytes(parent, name, arrival.blob):
                    return True
        except FileNotFoundError:
            return False
        if self._force and not stat.S_ISDIR(status.st_mode):
            return False
        raise Conflict(f"{self.path / arrival.path} is there already", "choose another place with -o, or add --force")

    def fetch(self, server: Server, arrival: Arrival) -> None:
        """Download into place. An interrupted download goes on from its part.

        Raises:
            XwhepError: see `transfer.get`.
            OSError: this machine's disk failed.
        """
        parts = checked_parts(arrival.path)
        with self._parent(parts, make=True) as parent:
            draft = f".{arrival.blob.sha256[:32]}.xw-part"
            with self._open_part(parent, draft, arrival) as sink:
                get(server, arrival.blob, sink)
                os.fchmod(sink.fileno(), (arrival.mode & 0o777 | 0o600) & ~_umask())
                os.fsync(sink.fileno())
            os.replace(draft, parts[-1], src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)

    @contextmanager
    def _parent(self, parts: Sequence[str], make: bool) -> Iterator[int]:
        """The descriptor of the folder that holds the file; FileNotFoundError when it is not there nor to be made."""
        current = os.dup(self._descriptor)
        try:
            for depth, part in enumerate(parts[:-1], start=1):
                if make:
                    _make_folder(part, current)
                try:
                    below = os.open(part, _FOLDER, dir_fd=current)
                except OSError as exc:
                    if exc.errno not in (errno.ELOOP, errno.ENOTDIR):
                        raise
                    where = self.path.joinpath(*parts[:depth])
                    raise Conflict(f"{where} is not a folder", "choose another place with -o") from exc
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)

    def _open_part(self, parent: int, draft: str, arrival: Arrival) -> BinaryIO:
        try:
            descriptor = os.open(draft, _PART, 0o600, dir_fd=parent)
        except OSError as exc:
            raise OSError(exc.errno, exc.strerror, str(self.path / arrival.path)) from exc
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(descriptor)
            raise Conflict(f"{draft} in {self.path} is in the way", "remove it and run it again")
        return os.fdopen(descriptor, "r+b")


def _make_folder(name: str, parent: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o777, dir_fd=parent)


def _has_bytes(parent: int, name: str, blob: Blob) -> bool:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size != blob.size:
            return False
        return hashlib.file_digest(file, "sha256").hexdigest() == blob.sha256


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
