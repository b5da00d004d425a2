"""Moving bytes: hash, ask, then upload; download with resumption, verified by sha256."""

from __future__ import annotations

import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from xwhep.client import text
from xwhep.client.connection import Request, Server
from xwhep.client.exchange import Answer
from xwhep.common.errors import ConnectionFailed, NotFound, ServerFailed, UsageError

CHUNK_BYTES = 256 * 1024
BAR_FROM_BYTES = 4 * 1024 * 1024  # smaller files are there before a bar is read
BAR_STEP_S = 0.1
MEMORY_LIMIT_BYTES = 8 * 1024 * 1024
T = TypeVar("T")

ATTEMPTS = 5  # in a row, without one byte of progress
FIRST_PAUSE_S = 0.2


class Blob(NamedTuple):
    """Bytes on the server: lowercase hex sha256, size in bytes, and a name for messages."""

    sha256: str
    size: int
    name: str = ""


class Bar:
    """A progress line on a terminal; silent elsewhere and for small files."""

    def __init__(self, verb: str, blob: Blob) -> None:
        self._label = f"{verb} {text.clean(blob.name)}"
        self._total = blob.size
        self._shown = blob.size >= BAR_FROM_BYTES and sys.stderr.isatty()
        self._next_at = 0.0

    def at(self, done: int) -> None:
        if self._shown and (done >= self._total or time.monotonic() >= self._next_at):
            self._next_at = time.monotonic() + BAR_STEP_S
            share = 100 * done // self._total
            sys.stderr.write(f"\r{self._label}  {share:3d} %  {text.size(done)} of {text.size(self._total)} \x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def put_path(server: Server, path: Path, anew: bool = False) -> Blob:
    """Upload a local file unless the server has its bytes already; with `anew`, even then.

    Raises:
        UsageError: it is no regular file that can be read.
        XwhepError: the server or the network failed.
    """
    with regular_file(path) as file:
        return put(server, file, path.name, anew)


def regular_file(path: Path) -> BinaryIO:
    """`path`, open for reading.

    Raises:
        UsageError: it is a folder, a pipe or a device.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():  # opening a FIFO would wait for ever
        raise UsageError(f"{path} is not a regular file", "give a regular file")
    return path.open("rb")


def put(server: Server, file: BinaryIO, name: str, anew: bool = False) -> Blob:
    """`put_path` for an open, seekable file."""
    blob = _measure(file, name)
    if not anew and _is_there(server, blob):
        return blob
    bar = Bar("uploading", blob)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _send(server, blob, file, bar)
            break
        except ConnectionFailed:
            if attempt == ATTEMPTS:
                raise
            time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))
        finally:
            bar.end()
    return blob


def proving(upload_and_name: Callable[[bool], T]) -> T:
    """`upload_and_name(False)`, and again with True when the server has the bytes, but not from this user.

    Knowing a hash is not having the content: a server may let only those name a blob who have uploaded it themselves.
    """
    try:
        return upload_and_name(False)
    except NotFound:
        return upload_and_name(True)


def _measure(file: BinaryIO, name: str) -> Blob:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type] # typeshed wants readable() too
    return Blob(digest.hexdigest(), file.tell(), name)


def _is_there(server: Server, blob: Blob) -> bool:
    try:
        server.send(Request("HEAD", f"/v1/blobs/{blob.sha256}"))
    except NotFound:
        return False
    return True


def _send(server: Server, blob: Blob, file: BinaryIO, bar: Bar) -> None:
    file.seek(0)

    def chunks() -> Iterator[bytes]:
        sent = 0
        # Never more than was announced, should the file grow: the server would take the rest for the next request.
        while sent < blob.size and (chunk := file.read(min(CHUNK_BYTES, blob.size - sent))):
            sent += len(chunk)
            yield chunk
            bar.at(sent)

    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
    server.discard(server.send(Request("PUT", f"/v1/blobs/{blob.sha256}", chunks(), headers)))


def get(server: Server, blob: Blob, sink: BinaryIO) -> None:
    """Fill `sink` (readable, writable, seekable) with the blob, going on from the bytes it already holds.

    A broken connection is taken up where it broke, up to 5 times without progress.

    Raises:
        ServerFailed: what came does not have the blob's hash; `sink` is then empty.
        XwhepError: the server or the network failed; `sink` keeps what came.
        OSError: this machine's disk failed.
    """
    resumed = _fill(server, blob, sink)
    if resumed is not None:
        sink.seek(0)
        sink.truncate()  # an old part of something else, perhaps; what is wrong now, the server sent
        resumed = _fill(server, blob, sink)
    if resumed is not None:
        sink.seek(0)
        sink.truncate()
        raise ServerFailed(
            f"the server sent other bytes than {blob.name or 'the file'} has: sha256 {resumed}, not {blob.sha256}",
            "try again; tell the administrator if it stays so",
        )


def _fill(server: Server, blob: Blob, sink: BinaryIO) -> str | None:
    """Fetch what is missing. None, or the wrong hash that the whole has."""
    sink.seek(0)
    digest = hashlib.file_digest(sink, "sha256")  # type: ignore[arg-type]
    offset = sink.tell()
    if offset > blob.size:
        return digest.hexdigest()
    bar, failures = Bar("downloading", blob), 0
    while offset < blob.size:
        before = offset
        try:
            response = server.send(_range_request(blob, offset))
            if _start(response) != offset:
                offset, digest = 0, hashlib.sha256()
                sink.seek(0)
                sink.truncate()
            while offset < blob.size:
                chunk = server.read(response, min(CHUNK_BYTES, blob.size - offset))
                if not chunk:
                    raise ConnectionFailed(f"the server broke off while sending {blob.name}", "run it again to go on")
                sink.write(chunk)
                digest.update(chunk)
                offset += len(chunk)
                bar.at(offset)
        except ConnectionFailed:
            server.close()
            failures = 1 if offset > before else failures + 1
            if failures >= ATTEMPTS:
                raise
            time.sleep(FIRST_PAUSE_S * 2 ** (failures - 1))
        finally:
            sink.flush()
            bar.end()
    return None if digest.hexdigest() == blob.sha256 else digest.hexdigest()


def _range_request(blob: Blob, offset: int) -> Request:
    return Request("GET", f"/v1/blobs/{blob.sha256}", headers={"Range": f"bytes={offset}-"} if offset else {})


def _start(response: Answer) -> int:
    """The offset of the first byte of the body; -1 when the server does not say it understandably."""
    if response.status != 206:
        return 0
    first = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isascii() and first.isdigit() else -1


def get_to_stream(server: Server, blob: Blob, stream: BinaryIO) -> None:
    """Write the blob to `stream` (standard output, say) once it is complete and verified."""
    if blob.size <= MEMORY_LIMIT_BYTES:
        memory = io.BytesIO()
        get(server, blob, memory)
        stream.write(memory.getbuffer())
        stream.flush()
        return
    import shutil  # noqa: PLC0415 - only for what does not fit in memory
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryFile() as file:
        get(server, blob, file)
        file.seek(0)
        shutil.copyfileobj(file, stream, CHUNK_BYTES)
        stream.flush()
