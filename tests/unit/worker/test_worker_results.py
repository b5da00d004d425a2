import os
import socket
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xwhep.worker.flag import Flag
from xwhep.worker.results import harvest, hash_file
from xwhep.worker.retry import Stopped


def collect(work: Path, placed: dict[str, str] | None = None):
    return harvest(work, placed or {}, Flag())


def test_files_at_every_depth_with_hash_size_and_mode(tmp_path: Path, grid) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/deep.txt").write_bytes(b"deep")
    (tmp_path / "run.sh").write_bytes(b"#!")
    (tmp_path / "run.sh").chmod(0o755)
    found = {file.path: (file, path) for file, path in collect(tmp_path).files}
    assert set(found) == {"a/b/deep.txt", "run.sh"}
    file, path = found["a/b/deep.txt"]
    assert (file.sha256, file.size, path) == (grid.sha(b"deep"), 4, tmp_path / "a/b/deep.txt")
    assert found["run.sh"][0].mode == 0o755


def test_what_was_put_there_comes_back_only_when_changed(tmp_path: Path, grid) -> None:
    for name in ("same", "changed"):
        (tmp_path / name).write_bytes(name.encode())
    found = collect(tmp_path, {"same": grid.sha(b"same"), "changed": grid.sha(b"before"), "removed": grid.sha(b"")})
    assert [file.path for file, _ in found.files] == ["changed"]


def test_links_and_specials_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "secret").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    found = collect(tmp_path)
    assert found.files == []
    assert found.note() == "left out, being no regular files: dangling, folder, pipe, secret, socket"


def test_a_long_list_of_names_is_cut(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"link{number}").symlink_to("x")
    assert collect(tmp_path).note().endswith("link4 and 4 more")


def test_nothing_to_say(tmp_path: Path) -> None:
    assert collect(tmp_path).note() == ""


def test_names_that_are_no_utf8_are_delivered_under_others(tmp_path: Path) -> None:
    for name, content in ((b"caf\xe9", b"1"), ("café".encode(), b"2"), (b"caf\\xe9", b"3")):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    found = collect(tmp_path)
    contents = {file.path: path.read_bytes() for file, path in found.files}
    assert sorted(contents.values()) == [b"1", b"2", b"3"]
    assert contents["café"] == b"2"
    assert "valid UTF-8" in found.note()


def test_a_name_made_valid_never_takes_that_of_another(tmp_path: Path) -> None:
    for name in (b"d\xff", b"d\\xff"):
        (tmp_path / os.fsdecode(name)).mkdir()
        (tmp_path / os.fsdecode(name) / "f").write_bytes(name)
    contents = {file.path: path.read_bytes() for file, path in collect(tmp_path).files}
    assert contents == {"d\\xff/f": b"d\\xff", "d\\xff/f.2": b"d\xff"}


def test_a_path_too_long_for_the_server_is_left_out_and_named(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(6):
        deep /= "d" * 200
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"x")
    (tmp_path / "short").write_bytes(b"x")
    found = collect(tmp_path)
    assert [file.path for file, _ in found.files] == ["short"]
    assert "longer than 1024" in found.note()


def test_permissions_that_a_job_took_away_hide_nothing(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed/file").write_bytes(b"x")
    (tmp_path / "closed/file").chmod(0)
    (tmp_path / "closed").chmod(0)
    found = collect(tmp_path)
    assert [(file.path, file.mode) for file, _ in found.files] == [("closed/file", 0)]


def test_set_user_id_is_not_delivered(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "f").chmod(0o4755)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o4755
    assert collect(tmp_path).files[0][0].mode == 0o755


def test_hashing_follows_no_link_and_hangs_on_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic"):
        hash_file(tmp_path / "link", Flag())


def test_a_cancelled_job_is_not_hashed_to_the_end(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 10)
    cancel = Flag()
    cancel.set()
    with pytest.raises(Stopped):
        harvest(tmp_path, {}, cancel)


PART = st.binary(min_size=1, max_size=12).filter(lambda raw: raw not in (b".", b"..") and not set(raw) & set(b"/\0"))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(PART, st.binary(max_size=20), max_size=6))
def test_every_file_comes_out_once_under_a_path_that_is_safe(tmp_path: Path, files: dict[bytes, bytes]) -> None:
    work = tmp_path / os.urandom(6).hex()
    work.mkdir()
    for name, content in files.items():
        (work / os.fsdecode(name)).write_bytes(content)
    found = collect(work)
    assert sorted(path.read_bytes() for _, path in found.files) == sorted(files.values())
    names = [file.path for file, _ in found.files]
    assert len(set(names)) == len(names)
    for name in names:
        name.encode("utf-8")
        assert name not in ("", ".", "..")
        assert "/" not in name
