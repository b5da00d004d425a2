"""Blobs on disk, named by the sha256 of their content: STATE/blobs/ab/cdef...

A blob is written to STATE/incoming, hashed on the way, synced, and renamed: under its name there is never half of one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from xwhep.common.durable import sync as sync_folder
from xwhep.common.errors import DiskFull, InvalidRequest, NotFound

CHUNK_BYTES = 1024 * 1024
IN_USE_S = 30.0
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_sha256(text: str) -> str:
    """`text`, if it names a blob. Raises: InvalidRequest."""
    if not _SHA256.fullmatch(text):
        raise InvalidRequest("a blob is named by 64 lowercase hexadecimal digits", "name it by its sha256sum")
    return text


def wrong_content() -> InvalidRequest:
    return InvalidRequest("the content's sha256 is not the one in the address", "upload it again")


class BlobFolder:
    """`reserve_bytes` of the disk stay free for the database and the logs."""

    def __init__(self, state: Path, reserve_bytes: int) -> None:
        self._blobs = state / "blobs"
        self._folder = str(self._blobs)
        self._incoming = state / "incoming"
        self._reserve_bytes = reserve_bytes
        self._used: dict[str, float] = {}  # contents that a request is about to name, and when it said so

    def prepare(self) -> None:
        """Make the folders, and drop the uploads that a crash cut off."""
        for folder in (self._blobs, self._incoming):
            folder.mkdir(mode=0o700, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink()
        self._place(EMPTY_SHA256).parent.mkdir(mode=0o700, exist_ok=True)
        self._place(EMPTY_SHA256).touch(mode=0o600)

    def _place(self, sha256: str) -> Path:
        return Path(self._name(sha256))

    def _name(self, sha256: str) -> str:
        check_sha256(sha256)
        return f"{self._folder}/{sha256[:2]}/{sha256[2:]}"

    def size(self, sha256: str) -> int | None:
        """Bytes, or None when it is not here."""
        try:
            return os.stat(self._name(sha256)).st_size  # noqa: PTH116 - for each file of each result
        except FileNotFoundError:
            return None

    def note_use(self, sha256: str) -> None:
        """A request is about to name the content: it is not removed for a while, whatever the store says."""
        now = time.monotonic()
        self._used.pop(sha256, None)
        self._used[sha256] = now
        while next(iter(self._used.values())) <= now - IN_USE_S:
            del self._used[next(iter(self._used))]

    def remove_unless_in_use(self, sha256: str) -> bool:
        """Returns whether the content is gone."""
        if time.monotonic() - self._used.get(sha256, -IN_USE_S) < IN_USE_S or sha256 == EMPTY_SHA256:
            return False
        self._place(sha256).unlink(missing_ok=True)
        return True

    def open_path(self, sha256: str) -> tuple[Path, int]:
        """Its path and size. Raises: NotFound."""
        size = self.size(sha256)
        if size is None:
            raise NotFound(f"there is no blob {sha256}", "upload it first")
        return self._place(sha256), size

    def check_room(self, incoming_bytes: int) -> None:
        """Raises: DiskFull: after `incoming_bytes` more, less than the reserve would be free."""
        status = os.statvfs(self._blobs)
        if status.f_bavail * status.f_frsize - incoming_bytes < self._reserve_bytes:
            raise DiskFull("the server has no room for this upload", "ask its administrator to free disk space")

    async def receive(self, sha256: str, body: AsyncIterator[bytes]) -> bool:
        """Store what `body` brings; False when the blob was here already (then it is only compared).

        Raises:
            InvalidRequest: the content has another hash; nothing is kept.
            DiskFull: no room; nothing is kept.
        """
        import asyncio  # noqa: PLC0415 - the commands that only check a sha256 start faster without it

        known = self.size(sha256) is not None
        upload = _Upload(self._incoming, self._place(sha256), keep=not known)
        try:
            await self._pour(body, upload)
            if upload.digest.hexdigest() != sha256:
                raise wrong_content()
            await asyncio.to_thread(upload.publish)
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull("the server's disk is full", "ask its administrator to free disk space") from exc
            raise
        finally:
            upload.discard()
        return not known

    async def _pour(self, body: AsyncIterator[bytes], upload: _Upload) -> None:
        import asyncio  # noqa: PLC0415

        pending = bytearray()
        async for piece in body:
            pending += piece
            if len(pending) >= CHUNK_BYTES:
                self.check_room(len(pending))
                await asyncio.to_thread(upload.add, bytes(pending))
                pending.clear()
        upload.last = bytes(pending)
        upload.digest.update(upload.last)


class _Upload:
    """One blob on its way in. With keep=False it is only hashed."""

    def __init__(self, incoming: Path, place: Path, *, keep: bool) -> None:
        self.digest = hashlib.sha256()
        self.last = b""  # the end of the content, written with the publication: small blobs need one hop to a thread
        self._incoming = incoming
        self._place = place
        self._keep = keep
        self._temporary: Path | None = None
        self._descriptor = -1

    def add(self, piece: bytes) -> None:
        self.digest.update(piece)
        if self._keep:
            self._write(piece)

    def _write(self, piece: bytes) -> None:
        if self._descriptor < 0:
            self._descriptor, name = tempfile.mkstemp(dir=self._incoming)
            self._temporary = Path(name)
        view = memoryview(piece)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def publish(self) -> None:
        """Give the content its name, for good."""
        if not self._keep:
            return
        self._write(self.last)
        os.fsync(self._descriptor)
        folder = self._place.parent
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(folder.parent)
        assert self._temporary is not None  # noqa: S101 - set by _write
        self._temporary.replace(self._place)
        self._temporary = None
        sync_folder(folder)

    def discard(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
