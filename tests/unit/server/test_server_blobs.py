"""Blobs: on disk under their hash or not at all, whole or in part, never beyond the disk's reserve."""

from __future__ import annotations

import errno
import hashlib
import os

import pytest

from xwhep.common.errors import DiskFull, InvalidRequest, NotFound
from xwhep.server.blobs import CHUNK_BYTES, EMPTY_SHA256, BlobFolder, check_sha256
from xwhep.server.routes.blobs import Span, parse_range


async def pieces(*parts: bytes):
    for part in parts:
        yield part


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(fast_folder):
    blobs = BlobFolder(fast_folder, reserve_bytes=0)
    blobs.prepare()
    return blobs


@pytest.mark.parametrize(
    "parts",
    [(b"small",), (b"in ", b"pieces"), (b"x" * CHUNK_BYTES, b"y" * CHUNK_BYTES, b"z"), ()],
    ids=["small", "pieces", "large", "empty"],
)
def test_what_is_received_is_there_under_its_hash(folder, fast_folder, run, parts):
    content = b"".join(parts)
    name = sha(content)
    new = run(lambda: folder.receive(name, pieces(*parts)))
    assert new == (content != b"")  # the empty blob is always here
    path, size = folder.open_path(name)
    assert path == fast_folder / "blobs" / name[:2] / name[2:]
    assert (path.read_bytes(), size) == (content, len(content))
    assert run(lambda: folder.receive(name, pieces(*parts))) is False
    assert list((fast_folder / "incoming").iterdir()) == []


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_another_content_than_named_is_refused_and_leaves_nothing(folder, fast_folder, run, large):
    content = b"x" * (2 * CHUNK_BYTES if large else 5)
    with pytest.raises(InvalidRequest):
        run(lambda: folder.receive(sha(b"named"), pieces(content)))
    assert folder.size(sha(b"named")) is None
    assert list((fast_folder / "incoming").iterdir()) == []


def test_a_blob_that_is_here_is_still_compared(folder, run):
    run(lambda: folder.receive(sha(b"good"), pieces(b"good")))
    with pytest.raises(InvalidRequest):
        run(lambda: folder.receive(sha(b"good"), pieces(b"evil")))
    assert folder.open_path(sha(b"good"))[0].read_bytes() == b"good"


def test_an_upload_that_breaks_off_leaves_nothing(folder, fast_folder, run):
    async def broken():
        yield b"x" * CHUNK_BYTES
        raise ConnectionError

    with pytest.raises(ConnectionError):
        run(lambda: folder.receive(sha(b"whole"), broken()))
    assert list((fast_folder / "incoming").iterdir()) == []


def test_leftovers_of_a_crash_are_dropped_at_the_start(folder, fast_folder):
    (fast_folder / "incoming" / "tmpabc").write_bytes(b"half")
    folder.prepare()
    assert list((fast_folder / "incoming").iterdir()) == []
    assert folder.size(EMPTY_SHA256) == 0


def test_an_upload_beyond_the_reserve_is_refused_before_it_is_read(fast_folder):
    status = os.statvfs(fast_folder)
    free = status.f_bavail * status.f_frsize
    blobs = BlobFolder(fast_folder, reserve_bytes=free // 2)
    blobs.prepare()
    blobs.check_room(1)
    with pytest.raises(DiskFull):
        blobs.check_room(free)


def test_a_disk_that_fills_up_meanwhile_is_told_as_such(folder, run, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        run(lambda: folder.receive(sha(b"x"), pieces(b"x")))
    assert folder.size(sha(b"x")) is None


def test_a_missing_blob_is_not_found(folder):
    with pytest.raises(NotFound):
        folder.open_path(sha(b"missing"))


@pytest.mark.parametrize("name", ["", "a" * 63, "a" * 65, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n", "g" * 64])
def test_only_hashes_name_blobs(folder, name):
    for call in (check_sha256, folder.size):
        with pytest.raises(InvalidRequest):
            call(name)


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("", None),
        ("bytes=0-3", Span(start=0, stop=4)),
        ("bytes=5-", Span(start=5, stop=10)),
        ("bytes=-4", Span(start=6, stop=10)),
        ("bytes=-99", Span(start=0, stop=10)),
        ("bytes=8-99", Span(start=8, stop=10)),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=-", None),
    ],
)
def test_ranges_are_understood_as_http_says(header, span):
    assert parse_range(header, 10) == span


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=5-4", "bytes=-0"])
def test_ranges_outside_are_refused(header):
    with pytest.raises(InvalidRequest):
        parse_range(header, 10)


def test_over_http_whole_part_head_and_refusals(live):
    admin = live.admin()
    content = bytes(range(256)) * 8192  # 2 MiB
    path = f"/v1/blobs/{sha(content)}"
    assert admin.call("HEAD", path).status == 404
    assert admin.call("PUT", path, content).status == 201
    assert admin.call("PUT", path, content).status == 200
    head = admin.call("HEAD", path)
    assert (head.status, head.headers["content-length"], head.raw) == (200, str(len(content)), b"")
    assert admin.get(path).raw == content
    part = admin.get(path, Range="bytes=1000-2000")
    assert (part.status, part.raw) == (206, content[1000:2001])
    assert part.headers["content-range"] == f"bytes 1000-2000/{len(content)}"
    outside = admin.get(path, Range=f"bytes={len(content)}-")
    assert (outside.status, outside.headers["content-range"]) == (416, f"bytes */{len(content)}")
    wrong = admin.call("PUT", f"/v1/blobs/{sha(b'other')}", b"content")
    assert (wrong.status, wrong.code) == (422, "invalid_request")


def test_over_http_a_full_disk_is_507(stopped):
    stopped.start("--disk-reserve-mb", str(2**40))
    admin = stopped.admin()
    full = admin.call("PUT", f"/v1/blobs/{sha(b'x')}", b"x")
    assert (full.status, full.code) == (507, "disk_full")
    assert admin.get("/v1/me").status == 200
