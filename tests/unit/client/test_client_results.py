"""Results on disk: all of them, whole, and nowhere but in the chosen folder, whatever the server says."""

import json
import os
import stat

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep.client.connection import Server
from xwhep.client.credentials import Credentials
from xwhep.client.folder import Arrival, Folder, check_together, checked_parts
from xwhep.client.transfer import Blob
from xwhep.common import errors, wire
from xwhep.common.wire import ResultFile


@pytest.fixture
def ended(xw, grid):
    """A function that makes a completed job with the given files and returns its id."""

    def make(files=(), stdout=b"out\n", exit_code=0):
        grid.add_app("a")
        job_id = xw("job", "submit", "a").out.strip()
        grid.finish(job_id, stdout=stdout, stderr=b"err\n", files=list(files), exit_code=exit_code)
        return job_id

    return make


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def outside(xw):
    """Everything that is not the working folder nor this user's session."""
    return [name for name in tree(xw.folder.parent) if not name.startswith(("cwd/out", "home/.config/xwhep/"))]


def test_everything_is_stored_with_its_bits(xw, grid, ended):
    job_id = ended([grid.file("deep/er/data.bin", b"\x00\xff"), grid.file("run.sh", b"#!", mode=0o755)])
    done = xw("job", "results", job_id[:7], "-o", "out")
    assert done.code == 0, done.err
    assert tree(xw.folder / "out") == ["deep/er/data.bin", "run.sh", "stderr", "stdout"]
    assert (xw.folder / "out/deep/er/data.bin").read_bytes() == b"\x00\xff"
    assert (xw.folder / "out/run.sh").stat().st_mode & stat.S_IXUSR
    assert not (xw.folder / "out/stdout").stat().st_mode & stat.S_IXUSR


def test_the_default_folder_and_json(xw, grid, ended):
    job_id = ended()
    stored = json.loads(xw("job", "results", job_id, "--format", "json").out)
    assert [one["path"] for one in stored] == [f"results-{job_id[:8]}/stdout", f"results-{job_id[:8]}/stderr"]
    assert [one["size"] for one in stored] == [4, 4]


def test_a_failed_jobs_files_can_be_had_too(xw, ended):
    assert xw("job", "results", ended(exit_code=3), "-o", "out").code == 0
    assert tree(xw.folder / "out") == ["stderr", "stdout"]


def test_a_second_run_finishes_the_first_and_transfers_nothing_twice(xw, grid, ended):
    job_id = ended([grid.file("a", b"A"), grid.file("b", b"B")])
    assert xw("job", "results", job_id, "-o", "out").code == 0
    (xw.folder / "out/b").unlink()
    grid.requests.clear()
    assert xw("job", "results", job_id, "-o", "out").code == 0
    assert len([request for request in grid.requests if "/v1/blobs/" in request]) == 1
    assert tree(xw.folder / "out") == ["a", "b", "stderr", "stdout"]


def test_a_file_in_the_way_stops_all_of_it(xw, grid, ended):
    job_id = ended([grid.file("z", b"Z")])
    (xw.folder / "out").mkdir()
    (xw.folder / "out/z").write_bytes(b"mine")
    done = xw("job", "results", job_id, "-o", "out")
    assert done.code == errors.Conflict.exit_code
    assert "out/z is there already" in done.err
    assert tree(xw.folder / "out") == ["z"]
    assert xw("job", "results", job_id, "-o", "out", "--force").code == 0
    assert (xw.folder / "out/z").read_bytes() == b"Z"


def test_files_called_like_the_streams_keep_their_names(xw, grid, ended):
    job_id = ended([grid.file("stdout", b"mine"), grid.file("stderr/log", b"mine too")])
    assert xw("job", "results", job_id, "-o", "out").code == 0
    assert tree(xw.folder / "out") == ["stderr.stream", "stderr/log", "stdout", "stdout.stream"]
    assert (xw.folder / "out/stdout.stream").read_bytes() == b"out\n"


HOSTILE = ["../evil", "/evil", "a/../../evil", "", ".", "..", "a//b", "a/", "./a", "a\0b", "x" * 256]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_leads_out_is_refused_before_anything_is_written(xw, grid, ended, path):
    job_id = ended()
    result = grid.jobs[job_id].result
    evil = msgspec.structs.replace(result, files=[grid.file("fine", b"x"), grid.file(path, b"evil")])
    grid.change(job_id, result=evil)
    before = outside(xw)
    done = xw("job", "results", job_id, "-o", "out")
    assert done.code == errors.ServerFailed.exit_code
    assert not (xw.folder / "out").exists()
    assert outside(xw) == before


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b"), ("a/b/c", "a/b")])
def test_paths_that_exclude_each_other_are_refused(xw, grid, ended, paths):
    job_id = ended([grid.file(path, b"x") for path in paths])
    assert xw("job", "results", job_id, "-o", "out").code == errors.ServerFailed.exit_code


def test_a_link_to_a_folder_is_not_followed(xw, grid, ended, tmp_path):
    job_id = ended([grid.file("sub/file", b"x")])
    (tmp_path / "victim").mkdir()
    (xw.folder / "out").mkdir()
    (xw.folder / "out/sub").symlink_to(tmp_path / "victim")
    done = xw("job", "results", job_id, "-o", "out", "--force")
    assert done.code == errors.Conflict.exit_code
    assert "out/sub is not a folder" in done.err
    assert not tree(tmp_path / "victim")


def test_a_link_to_a_file_is_replaced_not_written_through(xw, grid, ended, tmp_path):
    job_id = ended([grid.file("file", b"new")])
    (tmp_path / "victim").write_bytes(b"old")
    (xw.folder / "out").mkdir()
    (xw.folder / "out/file").symlink_to(tmp_path / "victim")
    assert xw("job", "results", job_id, "-o", "out").code == errors.Conflict.exit_code
    assert xw("job", "results", job_id, "-o", "out", "--force").code == 0
    assert (tmp_path / "victim").read_bytes() == b"old"
    assert not (xw.folder / "out/file").is_symlink()


@pytest.mark.parametrize("trap", ["link", "hardlink", "fifo"])
def test_a_planted_part_is_not_written_through(xw, grid, ended, trap):
    tmp_path = xw.folder.parent
    file = grid.file("file", b"new")
    job_id = ended([file])
    (tmp_path / "victim").write_bytes(b"old")
    (xw.folder / "out").mkdir()
    part = xw.folder / "out" / f".{file.sha256[:32]}.xw-part"
    {
        "link": lambda: part.symlink_to(tmp_path / "victim"),
        "hardlink": lambda: part.hardlink_to(tmp_path / "victim"),
        "fifo": lambda: os.mkfifo(part),
    }[trap]()
    done = xw("job", "results", job_id, "-o", "out")
    assert done.code in (errors.Conflict.exit_code, errors.UsageError.exit_code)
    assert (tmp_path / "victim").read_bytes() == b"old"


def test_no_file_is_made_to_run_as_somebody_else(xw, grid, ended):
    job_id = ended([grid.file("s", b"x", mode=0o6777)])
    assert xw("job", "results", job_id, "-o", "out").code == 0
    assert not stat.S_IMODE((xw.folder / "out/s").stat().st_mode) & 0o7022


def test_an_id_cannot_name_a_folder_elsewhere(xw, grid, ended):
    job_id = ended()
    grid.overrides[f"GET /v1/jobs/{job_id}"] = (
        200,
        msgspec.json.encode(msgspec.structs.replace(grid.jobs[job_id], id="/../..")),
    )
    assert xw("job", "results", job_id).code == errors.ServerFailed.exit_code


def test_a_job_that_failed_without_a_result_says_why(xw, grid, ended):
    job_id = ended()
    grid.change(job_id, state=wire.JobState.FAILED, result=None, reason="3 workers were lost")
    done = xw("job", "results", job_id)
    assert done.code == errors.JobFailed.exit_code
    assert "3 workers were lost" in done.err


def test_one_missing_blob_fails_and_the_rest_stays_whole(xw, grid, ended):
    lost = ResultFile(path="lost", sha256="0" * 64, size=1)
    job_id = ended([grid.file("kept", b"x"), lost])
    done = xw("job", "results", job_id, "-o", "out")
    assert done.code == errors.NotFound.exit_code
    assert (xw.folder / "out/kept").read_bytes() == b"x"
    assert not (xw.folder / "out/lost").exists()


@given(st.text(alphabet="a./\0\n\u202e-", max_size=8))
def test_an_accepted_path_stays_below(path):
    try:
        parts = checked_parts(path)
    except errors.ServerFailed:
        return
    assert "/".join(parts) == path
    assert os.path.normpath("/root/of/all/" + path) == "/root/of/all/" + path


@given(st.lists(st.sampled_from(["a", "b", "a/b", "a/b/c", "b/a", "c/a"]), max_size=4))
def test_an_accepted_set_fits_on_a_disk(tmp_path_factory, paths):
    try:
        check_together(paths)
    except errors.ServerFailed:
        return
    folder = tmp_path_factory.mktemp("set")
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with (folder / path).open("x"):
            pass


@pytest.fixture
def server(grid):
    with Server(Credentials(grid.address, grid.pki.authority, "t0ken-of-alice")) as one:
        yield one


def arrival(grid, path, content=b"new"):
    return Arrival(path, Blob(grid.add_blob(content), len(content), path))


def test_a_folder_in_the_way_is_never_replaced(server, grid, tmp_path):
    (tmp_path / "name").mkdir()
    with Folder(tmp_path, force=True) as folder, pytest.raises(errors.Conflict, match="name is there already"):
        folder.is_there(arrival(grid, "name"))
    assert (tmp_path / "name").is_dir()


def test_a_file_where_a_folder_should_be(server, grid, tmp_path):
    (tmp_path / "a").write_text("file")
    with Folder(tmp_path, force=True) as folder, pytest.raises(errors.Conflict, match="a is not a folder"):
        folder.fetch(server, arrival(grid, "a/b"))
    assert (tmp_path / "a").read_text() == "file"


def test_the_chosen_folder_may_itself_be_a_link(server, grid, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Folder(tmp_path / "link") as folder:
        folder.fetch(server, arrival(grid, "sub/f"))
    assert (tmp_path / "real/sub/f").read_bytes() == b"new"


def test_a_folder_that_is_swapped_for_a_link_meanwhile_changes_nothing(server, grid, tmp_path):
    """The folder is held by descriptor: what its name means later does not matter."""
    chosen, victim = tmp_path / "chosen", tmp_path / "victim"
    victim.mkdir()
    with Folder(chosen) as folder:
        chosen.rename(tmp_path / "moved")
        chosen.symlink_to(victim)
        folder.fetch(server, arrival(grid, "f"))
    assert tree(victim) == []
    assert tree(tmp_path / "moved") == ["f"]


@pytest.mark.parametrize(("umask", "mode", "kept"), [(0o022, 0o777, 0o755), (0o077, 0o644, 0o600), (0o022, 0, 0o600)])
def test_permissions_follow_the_umask(server, grid, tmp_path, umask, mode, kept):
    before = os.umask(umask)
    try:
        with Folder(tmp_path) as folder:
            folder.fetch(server, arrival(grid, "f")._replace(mode=mode))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == kept
