"""Blobs: upload by content, download whole or in part."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from xwhep.common.errors import Conflict, InvalidRequest, NotFound
from xwhep.common.wire_bulk import INLINE_BYTES
from xwhep.server.blobs import CHUNK_BYTES, EMPTY_SHA256, check_sha256, wrong_content
from xwhep.server.http import bytes_of, grid_of
from xwhep.server.possession import holds, may_read, size_of

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True, kw_only=True)
class Span:
    """Bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int


def parse_range(header: str, size: int) -> Span | None:
    """The asked part; None when all of it is to be sent (no header, or several ranges, which may be ignored).

    Raises:
        InvalidRequest: nothing of it is in a blob of that size (HTTP 416).
    """
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # the last so many bytes
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= stop:
        raise InvalidRequest(f"the range is not within {size} bytes", "ask for less")
    return Span(start=start, stop=stop)


async def put_blob(request: Request) -> Response:
    grid = grid_of(request)
    principal = await grid.auth.principal(request.headers.get("authorization"))
    sha256 = check_sha256(request.path_params["sha256"])
    grid.blobs.note_use(sha256)
    known = await size_of(grid, sha256) is not None
    if known and await holds(grid, principal.holder, sha256):
        return Response(status_code=200)
    length = request.headers.get("content-length", "")
    grid.blobs.check_room(int(length) if length.isdigit() else 0)
    if length.isdigit() and int(length) <= INLINE_BYTES:
        await _put_small(request, principal.holder, sha256)
        return Response(status_code=200 if known else 201)
    new = await grid.blobs.receive(sha256, request.stream())
    grid.blobs.note_use(sha256)
    if grid.blobs.size(sha256) is None:
        raise Conflict("the content was deleted, being unused, while it was uploaded once more", "upload it again")
    if sha256 != EMPTY_SHA256:
        await grid.store.assets.hold_blob(sha256, principal.holder)
    return Response(status_code=201 if new else 200)


async def _put_small(request: Request, holder: str, sha256: str) -> None:
    """A small content goes to the store: many share one sync to the disk, where each file would need two."""
    content = bytes(await bytes_of(request, INLINE_BYTES))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise wrong_content()
    await grid_of(request).store.assets.put_small(sha256, content, holder)


async def get_blob(request: Request) -> Response:
    """Also HEAD, which Starlette routes here and for which no content is sent."""
    grid = grid_of(request)
    principal = await grid.auth.principal(request.headers.get("authorization"))
    sha256 = check_sha256(request.path_params["sha256"])
    # The same words for both, or anyone could find out which contents others have.
    if not await may_read(grid, principal, sha256) or (size := await size_of(grid, sha256)) is None:
        raise NotFound(f"there is no blob {sha256}, or it is not yours", "was it uploaded?")
    headers = {"etag": f'"{sha256}"', "accept-ranges": "bytes"}
    try:
        span = parse_range(request.headers.get("range", ""), size)
    except InvalidRequest:
        return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
    status = 200
    if span is not None:
        status, headers["content-range"] = 206, f"bytes {span.start}-{span.stop - 1}/{size}"
    span = span or Span(start=0, stop=size)
    headers["content-length"] = str(span.stop - span.start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    if (small := await grid.store.assets.small(sha256)) is not None:
        return Response(small[span.start : span.stop], status, headers, "application/octet-stream")
    path, _ = grid.blobs.open_path(sha256)
    return StreamingResponse(_chunks(path, span), status, headers, "application/octet-stream")


async def _chunks(path: Path, span: Span) -> AsyncIterator[bytes]:
    with path.open("rb", buffering=0) as file:
        file.seek(span.start)
        left = span.stop - span.start
        while left and (chunk := await asyncio.to_thread(file.read, min(left, CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk


ROUTES = [
    Route("/v1/blobs/{sha256}", put_blob, methods=["PUT"]),
    Route("/v1/blobs/{sha256}", get_blob),
]
