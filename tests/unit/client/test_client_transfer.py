"""Bytes up and down: skipped when there, resumed when cut, refused when wrong, never half on disk."""

import hashlib
import os
import signal
import time

import msgspec
import pytest

from xwhep.common import errors, wire

BIG = bytes(range(256)) * 4096 * 3  # 3 MiB


def puts(grid):
    return [request for request in grid.requests if request.startswith("PUT")]


def parts_in(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith(".xw-part")]


def test_put_and_get_give_the_same_bytes(xw, grid):
    (xw.folder / "big").write_bytes(BIG)
    assert xw("data", "put", "big", "--name", "b").code == 0
    assert xw("data", "get", "b", "-o", "copy").out == "copy\n"
    assert (xw.folder / "copy").read_bytes() == BIG
    assert xw("data", "get", "b", "-o", "-").raw == BIG
    assert not parts_in(xw.folder)


def test_an_empty_file(xw, grid):
    (xw.folder / "none").write_bytes(b"")
    assert xw("data", "put", "none").code == 0
    assert xw("data", "get", "none", "-o", "copy").code == 0
    assert (xw.folder / "copy").read_bytes() == b""


def test_what_the_server_has_is_not_sent_again(xw, grid):
    (xw.folder / "f").write_bytes(b"x")
    assert xw("data", "put", "f").code == 0
    assert len(puts(grid)) == 1
    again = xw("data", "put", "f", "--format", "json")
    assert again.code == 0, again.err
    assert xw("data", "put", "f", "--name", "other").code == 0
    assert len(puts(grid)) == 1


def test_bytes_that_somebody_else_uploaded_are_sent_to_prove_them(xw, grid):
    (xw.folder / "f").write_bytes(b"x")
    grid.add_blob(b"x")
    grid.must_prove = True
    assert xw("data", "put", "f").code == 0
    assert xw("app", "register", "a", "f", "--os", "linux", "--arch", "any").code == 0
    assert len(puts(grid)) == 1


def test_a_taken_name_for_other_bytes_is_a_conflict(xw, grid):
    (xw.folder / "f").write_bytes(b"x")
    assert xw("data", "put", "f").code == 0
    (xw.folder / "f").write_bytes(b"y")
    done = xw("data", "put", "f")
    assert done.code == errors.Conflict.exit_code
    assert "--name" in done.err


def test_standard_input_becomes_a_datum(xw, grid):
    assert xw("data", "put", "-", stdin=b"typed").code == errors.UsageError.exit_code
    assert xw("data", "put", "-", "--name", "t", stdin=b"typed").code == 0
    assert grid.blobs[grid.data["t"].sha256] == b"typed"


def test_a_cut_connection_is_resumed_where_it_broke(xw, grid):
    digest = grid.add_blob(BIG)
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=len(BIG), owner="a", created_at=1.0)
    grid.cut_downloads_after = 1_000_000
    done = xw("data", "get", "b")
    assert done.code == 0, done.err
    assert (xw.folder / "b").read_bytes() == BIG
    assert grid.requests.count(f"GET /v1/blobs/{digest}") == 4  # 3 x 1 MB and the rest


def test_a_killed_download_goes_on_in_the_next_run(xw, grid):
    digest = grid.add_blob(BIG)
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=len(BIG), owner="a", created_at=1.0)
    part = xw.folder / f".{digest[:32]}.xw-part"
    part.write_bytes(BIG[:2_000_000])
    assert xw("data", "get", "b").code == 0
    assert (xw.folder / "b").read_bytes() == BIG
    assert grid.sent_bytes == len(BIG) - 2_000_000


def test_a_part_of_other_bytes_is_thrown_away(xw, grid):
    digest = grid.add_blob(BIG)
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=len(BIG), owner="a", created_at=1.0)
    for wrong in (b"?" * 1000, b"?" * (len(BIG) + 5)):
        (xw.folder / f".{digest[:32]}.xw-part").write_bytes(wrong)
        assert xw("data", "get", "b", "--force").code == 0
        assert (xw.folder / "b").read_bytes() == BIG
        (xw.folder / "b").unlink()


def test_a_server_that_ignores_ranges_is_read_from_the_start(xw, grid):
    digest = grid.add_blob(BIG)
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=len(BIG), owner="a", created_at=1.0)
    grid.overrides[f"GET /v1/blobs/{digest}"] = (200, BIG)
    (xw.folder / f".{digest[:32]}.xw-part").write_bytes(BIG[:1000])
    assert xw("data", "get", "b").code == 0
    assert (xw.folder / "b").read_bytes() == BIG


@pytest.mark.parametrize("sent", [b"evil", b"good and more"], ids=["other", "longer"])
def test_other_bytes_than_announced_never_become_a_file(xw, grid, sent):
    digest = hashlib.sha256(b"good").hexdigest()
    size = 4 if sent == b"evil" else 6
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=size, owner="a", created_at=1.0)
    grid.overrides[f"GET /v1/blobs/{digest}"] = (200, sent)
    done = xw("data", "get", "b")
    assert done.code == errors.ServerFailed.exit_code
    assert "other bytes" in done.err
    assert not (xw.folder / "b").exists()
    assert xw("data", "get", "b", "-o", "-").raw == b""


def test_a_file_in_the_way_is_kept_unless_forced(xw, grid):
    digest = grid.add_blob(b"new")
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=3, owner="a", created_at=1.0)
    (xw.folder / "b").write_bytes(b"old")
    done = xw("data", "get", "b")
    assert done.code == errors.Conflict.exit_code
    assert "--force" in done.err
    assert (xw.folder / "b").read_bytes() == b"old"
    assert xw("data", "get", "b", "--force").code == 0
    assert (xw.folder / "b").read_bytes() == b"new"
    assert xw("data", "get", "b").code == 0  # the very bytes are there: nothing to do


def test_the_name_of_a_datum_cannot_lead_out_of_the_folder(xw, grid):
    digest = grid.add_blob(b"x")
    bad = {"etc/evil": 0, "..": errors.ServerFailed.exit_code, "/": errors.ServerFailed.exit_code}
    for number, (name, code) in enumerate(bad.items()):
        grid.data[name] = wire.Datum(id=f"d{number}", name=name, sha256=digest, size=1, owner="a", created_at=1.0)
        assert xw("data", "get", f"d{number}").code == code, name
    assert sorted(path.name for path in xw.folder.iterdir()) == ["evil"]


def test_a_folder_as_output_takes_the_datums_name(xw, grid):
    digest = grid.add_blob(b"x")
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=1, owner="a", created_at=1.0)
    (xw.folder / "dir").mkdir()
    assert xw("data", "get", "b", "-o", "dir").out == "dir/b\n"


def test_a_full_server_refuses_an_upload_before_it_is_sent(xw, grid):
    (xw.folder / "big").write_bytes(BIG * 4)
    digest = hashlib.sha256(BIG * 4).hexdigest()
    body = msgspec.json.encode(wire.ErrorBody(code="disk_full", message="only 3 MiB are left"))
    grid.overrides[f"PUT /v1/blobs/{digest}"] = (507, body)
    done = xw("data", "put", "big")
    assert done.code in (errors.DiskFull.exit_code, errors.ConnectionFailed.exit_code)
    if done.code == errors.DiskFull.exit_code:
        assert "only 3 MiB are left" in done.err


def test_a_full_server_is_told_as_such(xw, grid):
    (xw.folder / "small").write_bytes(b"x")
    digest = hashlib.sha256(b"x").hexdigest()
    body = msgspec.json.encode(wire.ErrorBody(code="disk_full", message="no room"))
    grid.overrides[f"PUT /v1/blobs/{digest}"] = (507, body)
    done = xw("data", "put", "small")
    assert done.code == errors.DiskFull.exit_code
    assert "ask the administrator" in done.err


@pytest.mark.parametrize("words", [["data", "put", "pipe"], ["app", "register", "a", "pipe"], ["data", "put", "."]])
def test_a_pipe_or_folder_is_refused_and_does_not_hang(xw, words):
    os.mkfifo(xw.folder / "pipe")
    done = xw(*words)
    assert done.code == errors.UsageError.exit_code
    assert "not a regular file" in done.err


def test_a_missing_file_is_named(xw):
    done = xw("data", "put", "nowhere.csv")
    assert done.code == errors.UsageError.exit_code
    assert "nowhere.csv: No such file or directory" in done.err


def test_ctrl_c_in_a_download_keeps_the_part_and_no_traceback(xw, grid):
    digest = grid.add_blob(BIG)
    grid.data["b"] = wire.Datum(id="d1", name="b", sha256=digest, size=len(BIG), owner="a", created_at=1.0)
    grid.stall_downloads_after = 500_000
    process = xw.start("data", "get", "b")
    part = xw.folder / f".{digest[:32]}.xw-part"
    end = time.monotonic() + 10
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == b""
    assert part.exists()
    assert not (xw.folder / "b").exists()
