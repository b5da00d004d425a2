import os
from pathlib import Path

import msgspec
import pytest

from xwhep.common.wire import JobResult, ResultFile, WorkResult
from xwhep.common.wire_bulk import INLINE_BYTES
from xwhep.worker.spool import PARCEL_BYTES, REJECTED_KEPT, Parcel, Spool, is_key, key_of

LARGE = b"x" * (INLINE_BYTES + 1)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path)


def put(spool: Spool, grid, tmp_path: Path, job: str = "job") -> Parcel:
    """Store a result with stdout "out", empty stderr and a large file."""
    contents = {"stdout": b"out", "stderr": b"", "a/file": LARGE}
    making = tmp_path / f"making-{job}"
    making.mkdir()
    files, paths = [], []
    for number, (name, content) in enumerate(contents.items()):
        paths.append(making / str(number))
        paths[-1].write_bytes(content)
        files.append(ResultFile(path=name, sha256=grid.sha(content), size=len(content)))
    result = JobResult(exit_code=0, stdout=files[0], stderr=files[1], files=files[2:])
    return spool.put(WorkResult(job_id=job, attempt=2, result=result), paths)


def test_a_stored_result_is_found_by_the_next_life(spool: Spool, grid, tmp_path: Path) -> None:
    parcel = put(spool, grid, tmp_path)
    (again,) = Spool(tmp_path).parcels()
    assert again == parcel
    assert [(file.path, path.read_bytes()) for file, path in again.files()] == [("a/file", LARGE)]
    assert again.contents == {grid.sha(b"out"): b"out"}


def test_a_result_of_an_earlier_version_is_found(spool: Spool, grid, tmp_path: Path) -> None:
    """It kept every file beside the message."""
    parcel = put(spool, grid, tmp_path)
    (parcel.folder / "files/0").write_bytes(b"out")
    (parcel.folder / "result.json").write_bytes(msgspec.json.encode(parcel.message))
    (again,) = spool.parcels()
    assert again.message == parcel.message
    assert [(file.path, path.read_bytes()) for file, path in again.files()] == [("stdout", b"out"), ("a/file", LARGE)]


def test_large_files_are_moved_not_copied(spool: Spool, grid, tmp_path: Path) -> None:
    put(spool, grid, tmp_path)
    assert sorted(path.name for path in (tmp_path / "making-job").iterdir()) == ["0", "1"]


def test_small_files_share_a_bounded_room(spool: Spool, grid, tmp_path: Path) -> None:
    count = PARCEL_BYTES // INLINE_BYTES + 3
    contents = [bytes([number]) * INLINE_BYTES for number in range(count)]
    paths = [tmp_path / f"file{number}" for number in range(count)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    files = [
        ResultFile(path=path.name, sha256=grid.sha(text), size=INLINE_BYTES)
        for path, text in zip(paths, contents, strict=True)
    ]
    result = JobResult(exit_code=0, stdout=files[0], stderr=files[1], files=files[2:])
    parcel = spool.put(WorkResult(job_id="job", attempt=1, result=result), paths)
    assert parcel.inline_bytes == PARCEL_BYTES
    assert [path.read_bytes() for _, path in parcel.files()] == contents[-3:]


def test_all_is_synced_before_it_has_its_name(spool: Spool, grid, tmp_path: Path, monkeypatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def recorded(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    put(spool, grid, tmp_path)
    assert synced[:2] == ["2", "files"]
    assert "result.json" in synced[2]
    assert synced[-1] == "spool"


def test_a_delivered_result_is_gone(spool: Spool, grid, tmp_path: Path) -> None:
    spool.drop(put(spool, grid, tmp_path))
    assert spool.parcels() == []
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_crash_cut_short_is_removed(spool: Spool, grid, tmp_path: Path) -> None:
    kept = put(spool, grid, tmp_path)
    for name in (".other.1.new", ".other.2.gone"):
        (tmp_path / "spool" / name / "files").mkdir(parents=True)
    assert spool.parcels() == [kept]
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["job.2"]


@pytest.mark.parametrize("content", [b"", b"{", None])
def test_a_damaged_result_is_set_aside(spool: Spool, grid, tmp_path: Path, content: bytes | None) -> None:
    file = put(spool, grid, tmp_path).folder / "result.json"
    file.unlink() if content is None else file.write_bytes(content)
    assert spool.parcels() == []
    assert (tmp_path / "rejected/job.2/files/2").read_bytes() == LARGE


def test_only_the_newest_rejected_are_kept(spool: Spool, grid, tmp_path: Path) -> None:
    for number in range(REJECTED_KEPT + 3):
        folder = put(spool, grid, tmp_path, f"job{number}").folder
        os.utime(folder, (number, number))
        spool.reject(folder)
    assert len(list((tmp_path / "rejected").iterdir())) == REJECTED_KEPT
    assert not (tmp_path / "rejected/job0.2").exists()


def test_oldest_first(spool: Spool, grid, tmp_path: Path) -> None:
    for age, job in ((3, "a"), (1, "b"), (2, "c")):
        os.utime(put(spool, grid, tmp_path, job).folder, (age, age))
    assert [parcel.message.job_id for parcel in spool.parcels()] == ["b", "c", "a"]


def test_storing_the_same_attempt_after_a_crash_in_between(spool: Spool, grid, tmp_path: Path) -> None:
    (tmp_path / "spool/.job.2.new/files").mkdir(parents=True)
    (tmp_path / "spool/.job.2.new/files/9").touch()
    assert len(list((put(spool, grid, tmp_path).folder / "files").iterdir())) == 1


@pytest.mark.parametrize("job", ["a", "0-Z_9", "x" * 128])
def test_usable_ids(job: str) -> None:
    assert is_key(key_of(job, 1))


@pytest.mark.parametrize("job", ["", "..", "a/b", "../../etc", "a b", ".a", "x" * 129, "a\n"])
def test_ids_that_are_no_folder_names(job: str) -> None:
    assert not is_key(key_of(job, 1))
    assert not is_key(f"{key_of('a', 1)}\n")
