import os
import threading
from pathlib import Path

import pytest

from xwhep.common.errors import DiskFull, NotFound, ServerFailed
from xwhep.worker import cache as caches
from xwhep.worker.cache import Cache, Download
from xwhep.worker.flag import Flag
from xwhep.worker.retry import Stopped


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture
def source(session) -> Download:
    return Download(session, Flag())


@pytest.fixture
def place(cache: Cache, source: Download):
    return lambda name, size, target: cache.place(name, size, target, source)


def downloads(grid) -> int:
    return sum(method == "GET" and "/blobs/" in path for method, path, _ in grid.calls)


def test_a_blob_is_downloaded_once(grid, cache: Cache, source: Download, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    name = grid.blob(content)
    for number in range(3):
        cache.place(name, len(content), tmp_path / str(number), source)
        assert (tmp_path / str(number)).read_bytes() == content
    assert downloads(grid) == 1


def test_an_empty_blob(grid, cache: Cache, source: Download, tmp_path: Path) -> None:
    cache.place(grid.blob(b""), 0, tmp_path / "empty", source)
    assert (tmp_path / "empty").read_bytes() == b""


def test_what_a_job_does_to_its_copy_does_not_reach_the_next(grid, cache, source, tmp_path: Path) -> None:
    name = grid.blob(b"original")
    cache.place(name, 8, tmp_path / "one", source)
    (tmp_path / "one").write_bytes(b"spoiled!")
    cache.place(name, 8, tmp_path / "two", source)
    assert (tmp_path / "two").read_bytes() == b"original"
    assert downloads(grid) == 1


@pytest.mark.parametrize("damage", [b"0riginal", b"", b"original and more"])
def test_a_damaged_cache_is_noticed_and_mended(grid, place, tmp_path: Path, damage: bytes) -> None:
    name = grid.blob(b"original")
    place(name, 8, tmp_path / "one")
    (tmp_path / "cache" / name).write_bytes(damage)
    place(name, 8, tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == b"original"
    assert (tmp_path / "cache" / name).read_bytes() == b"original"


def test_a_broken_download_goes_on_where_it_stopped(grid, cache, source, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    name = grid.blob(content)

    def cut(call) -> None:
        call.answer(200, content[:600_000], Content_Length=str(len(content)))
        call.hang_up()

    grid.fault("GET", "/v1/blobs", cut)
    cache.place(name, len(content), tmp_path / "whole", source)
    assert (tmp_path / "whole").read_bytes() == content
    ranges = [headers.get("Range") for method, path, headers in grid.calls if method == "GET" and "/blobs/" in path]
    assert ranges[0] is None
    assert 0 < int(ranges[1].removeprefix("bytes=").rstrip("-")) <= 600_000


def test_a_download_survives_a_restart_of_the_worker(grid, source, tmp_path: Path) -> None:
    name = grid.blob(b"0123456789")
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / f"{name}.part").write_bytes(b"01234")
    Cache(folder, 10**9).place(name, 10, tmp_path / "whole", source)
    assert (tmp_path / "whole").read_bytes() == b"0123456789"
    assert grid.calls[-1][2]["Range"] == "bytes=5-"


@pytest.mark.parametrize("left", [b"X1234", b"0123456789", b"XXXXXXXXXX", b"0123456789 and more"])
def test_a_wrong_or_full_leftover_ends_well(grid, source, tmp_path: Path, left: bytes) -> None:
    name = grid.blob(b"0123456789")
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / f"{name}.part").write_bytes(left)
    Cache(folder, 10**9).place(name, 10, tmp_path / "whole", source)
    assert (tmp_path / "whole").read_bytes() == b"0123456789"


def test_a_server_that_ignores_ranges_ends_well(grid, source, tmp_path: Path) -> None:
    name = grid.blob(b"0123456789")
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / f"{name}.part").write_bytes(b"01234")
    grid.fault("GET", "/v1/blobs", lambda call: call.answer(200, b"0123456789"))
    Cache(folder, 10**9).place(name, 10, tmp_path / "whole", source)
    assert (tmp_path / "whole").read_bytes() == b"0123456789"


def test_wrong_content_is_fetched_again_and_given_up_after_three(grid, cache, source, tmp_path: Path) -> None:
    name = grid.blob(b"original")
    lie = lambda call: call.answer(200, b"a lie!!!")  # noqa: E731
    grid.fault("GET", "/v1/blobs", lie, lie)
    cache.place(name, 8, tmp_path / "right", source)
    assert (tmp_path / "right").read_bytes() == b"original"

    other = grid.blob(b"another")
    grid.fault("GET", "/v1/blobs", lie, lie, lie)
    with pytest.raises(ServerFailed, match="something else"):
        cache.place(other, 8, tmp_path / "wrong", source)
    assert not (tmp_path / "wrong").exists()
    assert not list((tmp_path / "cache").glob(f"{other}*"))


def test_a_server_that_never_stops_sending_does_not_fill_the_disk(grid, cache, source, tmp_path: Path) -> None:
    flood = lambda call: call.answer(200, bytes(5_000_000))  # noqa: E731
    grid.fault("GET", "/v1/blobs", flood, flood, flood)
    with pytest.raises(ServerFailed):
        cache.place("0" * 64, 10, tmp_path / "wrong", source)


def test_a_blob_that_is_not_there(cache, source, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        cache.place("0" * 64, 10, tmp_path / "wrong", source)


def test_two_jobs_that_need_the_same_at_once_download_it_once(grid, cache, session, tmp_path: Path) -> None:
    content = os.urandom(2_000_000)
    name = grid.blob(content)
    threads = [
        threading.Thread(
            target=cache.place, args=(name, len(content), tmp_path / str(number), Download(session, Flag()))
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert all((tmp_path / str(number)).read_bytes() == content for number in range(4))
    assert downloads(grid) == 1


def test_the_least_recently_used_goes_first(grid, source, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 2500)
    names = [grid.blob(bytes([number]) * 1000) for number in range(3)]
    for age, name in enumerate(names[:2]):
        cache.place(name, 1000, tmp_path / name, source)
        os.utime(tmp_path / "cache" / name, (age, age))
    cache.place(names[0], 1000, tmp_path / "again", source)
    cache.place(names[2], 1000, tmp_path / "third", source)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {names[0], names[2]}


def test_a_full_disk_first_empties_the_cache_then_says_so(grid, place, tmp_path, monkeypatch) -> None:
    place(grid.blob(b"old"), 3, tmp_path / "old")
    monkeypatch.setattr(caches, "disk_free", lambda _: 1000)
    with pytest.raises(DiskFull, match="do not fit"):
        place(grid.blob(b"new"), 3, tmp_path / "new")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_meanwhile(grid, source, tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="cannot be stored"):
        source.fetch(grid.blob(b"x" * 100_000), 100_000, Path("/dev/full/blob"))


def test_a_cancelled_job_stops_downloading(grid, cache, session, tmp_path: Path) -> None:
    stop = Flag()
    grid.fault("GET", "/v1/blobs", lambda call: (stop.set(), call.answer(503, b""))[1])
    with pytest.raises(Stopped):
        cache.place(grid.blob(b"data"), 4, tmp_path / "x", Download(session, stop))
