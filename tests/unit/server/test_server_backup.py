"""Backup while the server runs, restore, and what becomes of jobs, data, logins and workers."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from xwhep.server.backup import SUMS, TRAILER_BYTES, trailer, write_backup
from xwhep.server.backup_lock import backup_running, nothing_removed
from xwhep.server.restore import restore


def backup(live, file: Path) -> Path:
    done = live.run_command("backup", str(file))
    assert done.returncode == 0, done.stderr
    return file


def restored(live, file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return live.run_command("restore", str(file), *words)


def moved(live) -> None:
    """From now on the server's state is a new, empty place."""
    live.state = live.state.parent / "second"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file; what SQLite keeps beside the database while it is open counts as no file of the state."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in (".db-shm", ".db-wal")
    }


@pytest.fixture
def filled(live):
    """A grid with a user, an app, a datum, a finished job, one that waits and one that runs."""
    ann, worker = live.user("ann"), live.worker()
    ann.register_app("tool", b"#!/bin/sh\necho hello\n" * 5000)
    assert ann.post("/v1/data", {"name": "table", **ann.upload(b"x" * 3_000_000)}).status == 200
    done = ann.submit()
    assert worker.deliver(worker.ask().body, stdout=b"y" * 200_000).status == 200
    running, waiting = ann.submit(priority=1), ann.submit()
    lease = worker.ask().body
    assert lease["job_id"] == running["id"]
    live.facts = {"done": done["id"], "waiting": waiting["id"], "lease": lease}
    live.callers = {"ann": ann.token, "worker": worker.token}
    return live


def test_everything_survives(filled, tmp_path) -> None:
    file = backup(filled, tmp_path / "grid.backup")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    kept = contents(filled.state)
    filled.kill()
    moved(filled)
    assert restored(filled, file).returncode == 0
    now = contents(filled.state)
    assert {name: now[name] for name in ("ca.key", "server.pem", "join.token", "admin.login")} == {
        name: kept[name] for name in ("ca.key", "server.pem", "join.token", "admin.login")
    }
    for path in filled.state.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    filled.start()
    ann, worker, lease = filled.api(filled.callers["ann"]), filled.api(filled.callers["worker"]), filled.facts["lease"]
    assert filled.login("ann", "secret of ann").get("/v1/me").body["login"] == "ann"
    done = ann.get(f"/v1/jobs/{filled.facts['done']}").body
    assert (done["state"], done["result"]["stdout"]["size"]) == ("completed", 200_000)
    assert ann.get(f"/v1/blobs/{done['result']['stdout']['sha256']}").raw == b"y" * 200_000
    assert ann.get(f"/v1/blobs/{hashlib.sha256(b'x' * 3_000_000).hexdigest()}").raw == b"x" * 3_000_000
    assert worker.deliver(lease).status == 200  # which it had in its spool all the while
    assert ann.get(f"/v1/jobs/{lease['job_id']}").body["attempt"] == 1
    assert worker.ask().body["job_id"] == filled.facts["waiting"]


def test_a_worker_delivers_after_the_restore_what_it_ran_meanwhile(live, fast_folder) -> None:
    boss = live.admin()
    boss.register_app("slow", b"#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.05; done\n")
    job = boss.submit("slow")
    line = live.run_command("join-line", "worker", "--address", f"localhost:{live.port}").stdout
    mine = fast_folder / "worker"
    environment = live.environment() | {"XWHEP_JOIN": line, "XWHEP_WORKER_STATE": str(mine)}
    words = [sys.executable, "-m", "xwhep.worker.main", "run", "--isolation", "process"]
    fast_folder.chmod(0o711)  # the user that runs jobs passes through
    worker = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    try:
        assert wait_for(boss, job["id"], "running")["attempt"] == 1
        file = backup(live, fast_folder / "grid.backup")
        live.kill()
        (mine / "jobs" / f"{job['id']}.1" / "work" / "go").touch()
        until = time.monotonic() + 20
        while not any((mine / "spool").iterdir()):
            assert time.monotonic() < until, "no result in the spool"
            time.sleep(0.05)
        moved(live)
        assert restored(live, file).returncode == 0
        live.start()
        ended = wait_for(live.api(boss.token), job["id"], "completed")
        assert (ended["attempt"], ended["result"]["exit_code"]) == (1, 0)
    finally:
        worker.terminate()
        worker.wait(20)


def wait_for(api, job_id: str, state: str) -> dict:
    until = time.monotonic() + 40
    while (job := api.get(f"/v1/jobs/{job_id}").body)["state"] != state:
        assert time.monotonic() < until, job
        time.sleep(0.05)
    return job


def test_a_backup_beside_writers_is_consistent(live, tmp_path) -> None:
    boss, enough = live.admin(), threading.Event()
    boss.register_app()
    submitted: list[str] = []

    def write() -> None:
        while not enough.is_set():
            submitted.append(boss.submit()["id"])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        files = []
        for number in range(3):
            before = len(submitted)
            while len(submitted) < before + 20:
                time.sleep(0.01)
            surely = submitted[:-1]
            files.append((backup(live, tmp_path / str(number)), surely))
    finally:
        enough.set()
        writer.join()
    live.kill()
    for number, (file, surely) in enumerate(files):
        live.state = live.state.parent / f"restored{number}"
        assert restored(live, file).returncode == 0
        database = sqlite3.connect(live.state / "xwhep.db")
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert {row[0] for row in database.execute("SELECT id FROM jobs")} >= set(surely)
        database.close()


def test_through_pipes_as_with_containers(filled) -> None:
    made = subprocess.run(filled.command("backup", "-"), capture_output=True, env=filled.environment(), check=True)
    assert b"saved" in made.stderr
    filled.kill()
    moved(filled)
    words = filled.command("restore", "-")
    subprocess.run(words, input=made.stdout, env=filled.environment(), check=True)
    filled.start()
    assert filled.api(filled.callers["ann"]).get("/v1/me").status == 200


def test_other_tools_read_it_too(filled, tmp_path) -> None:
    file = backup(filled, tmp_path / "grid.backup")
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", str(file), "-C", str(tmp_path / "out")], check=True)
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", SUMS], cwd=tmp_path / "out", check=True)


def test_nothing_goes_over_a_state_without_force(filled, tmp_path) -> None:
    file = backup(filled, tmp_path / "grid.backup")
    filled.user("bob")
    assert restored(filled, file, "--force").returncode == 24  # it runs
    filled.stop()
    before = contents(filled.state)
    refused = restored(filled, file)
    assert refused.returncode == 8
    assert "--force" in refused.stderr
    assert contents(filled.state) == before
    assert restored(filled, file, "--force").returncode == 0
    assert filled.run_command("user", "list").stdout == "admin\tadmin\nann\tuser\n"
    assert not (filled.state / ".restore").exists()


def damages(good: bytes) -> dict[str, bytes]:
    def flipped(at: int) -> bytes:
        return good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]

    chance = random.Random(7)
    some = {f"byte {at}": flipped(at) for at in sorted(chance.sample(range(len(good)), 12))}
    cuts = {f"cut at {at}": good[:at] for at in (0, 1, 511, 512, 10_240, len(good) // 2, len(good) - 1)}
    return {
        **some,
        **cuts,
        "first byte": flipped(0),
        "in the padding": flipped(len(good) - TRAILER_BYTES - 1),
        "in the trailer": flipped(len(good) - 2),
        "longer": good + b"\n",
        "twice": good + good,
        "noise": os.urandom(50_000),
    }


def test_a_backup_that_was_cut_or_changed_is_refused_and_changes_nothing(filled, tmp_path) -> None:
    good = backup(filled, tmp_path / "grid.backup").read_bytes()
    filled.stop()
    before = contents(filled.state)
    for what, damaged in damages(good).items():
        with pytest.raises(Exception, match="backup") as caught:
            restore_here(filled.state, damaged)
        assert caught.type.__name__ == "BackupDamaged", what
        assert contents(filled.state) == before, what
    (tmp_path / "bad").write_bytes(good[:-1])
    refused = restored(filled, tmp_path / "bad", "--force")
    assert refused.returncode == 28
    assert "Traceback" not in refused.stderr
    moved(filled)
    assert restored(filled, tmp_path / "bad").returncode == 28
    assert not filled.state.exists()


def restore_here(state: Path, content: bytes) -> None:
    restore(state, io.BytesIO(content), force=True)


def forged(*members: tuple[tarfile.TarInfo, bytes], sums: str | None = None) -> bytes:
    """A backup whose hashes are all right, made by somebody else."""
    packed = io.BytesIO()
    listed = ""
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
            listed += f"{hashlib.sha256(content).hexdigest()}  {info.name}\n"
        info = tarfile.TarInfo(SUMS)
        text = (listed if sums is None else sums).encode()
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    body = packed.getvalue()
    return body + trailer(hashlib.sha256(body).hexdigest())


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


HEADER = (tarfile.TarInfo("xwhep-backup.json"), b'{"format": 1}')


@pytest.mark.parametrize(
    "content",
    [
        forged(),
        forged(HEADER),
        forged(HEADER, (tarfile.TarInfo("../evil"), b"x")),
        forged(HEADER, (tarfile.TarInfo("/tmp/evil"), b"x")),
        forged(HEADER, (tarfile.TarInfo("blobs/../../evil"), b"x")),
        forged(HEADER, (tarfile.TarInfo("lock"), b"x")),
        forged(HEADER, (link("ca.pem", tarfile.SYMTYPE), b"")),
        forged(HEADER, (link("ca.pem", tarfile.LNKTYPE), b"")),
        forged(HEADER, (link("ca.pem", tarfile.CHRTYPE), b"")),
        forged(HEADER, (link("blobs", tarfile.DIRTYPE), b"")),
        forged(HEADER, (tarfile.TarInfo("ca.pem"), b"1"), (tarfile.TarInfo("ca.pem"), b"1")),
        forged(HEADER, (tarfile.TarInfo("xwhep.db"), b"no database" * 1000)),
        forged(HEADER, (tarfile.TarInfo("xwhep.db"), b"")),
        forged((tarfile.TarInfo("xwhep-backup.json"), b"[]")),
        forged(HEADER, sums="nonsense\n"),
        forged(HEADER, sums=""),
    ],
)
def test_what_is_no_backup_of_ours_writes_nothing(tmp_path, content) -> None:
    with pytest.raises(Exception, match="backup") as caught:
        restore_here(tmp_path / "a" / "state", content)
    assert caught.type.__name__ == "BackupDamaged"
    assert not (tmp_path / "a" / "state").exists()
    assert not (tmp_path / "evil").exists()


def test_a_newer_format_is_named(tmp_path) -> None:
    newer = (tarfile.TarInfo("xwhep-backup.json"), b'{"format": 2}')
    with pytest.raises(Exception, match="newer server"):
        restore_here(tmp_path / "state", forged(newer))


def test_a_restore_that_was_cut_short_lets_no_server_start(filled, tmp_path) -> None:
    file = backup(filled, tmp_path / "grid.backup")
    filled.stop()
    (filled.state / ".restore" / "old").mkdir(parents=True)
    (filled.state / "server.pem").rename(filled.state / ".restore" / "old" / "server.pem")
    failed = filled.run_command("run", "--listen", "127.0.0.1:0")
    assert failed.returncode == 27
    assert "xwhep-server restore" in failed.stderr
    (tmp_path / "bad").write_bytes(file.read_bytes()[:-1])
    assert restored(filled, tmp_path / "bad").returncode == 28
    assert filled.run_command("run", "--listen", "127.0.0.1:0").returncode == 27
    assert restored(filled, file).returncode == 0
    filled.start()
    assert filled.api(filled.callers["ann"]).get("/v1/me").status == 200


def test_a_restore_that_was_killed_before_it_changed_anything_is_no_matter(filled) -> None:
    filled.stop()
    (filled.state / ".restore" / "new").mkdir(parents=True)
    (filled.state / ".restore" / "new" / "xwhep.db").write_bytes(b"half")
    filled.start()
    assert filled.api(filled.callers["ann"]).get("/v1/me").status == 200
    assert not (filled.state / ".restore").exists()


def test_there_must_be_a_grid_to_save(stopped, tmp_path) -> None:
    failed = stopped.run_command("backup", str(tmp_path / "file"))
    assert failed.returncode == 26
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_half_backup(filled, tmp_path) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(Exception, match="no room for the backup") as caught:
        write_backup(filled.state, Full())
    assert caught.type.__name__ == "DiskFull"
    assert not list(filled.state.glob(".backup-*"))
    failed = filled.run_command("backup", "/dev/full/x")
    assert failed.returncode == 2


def test_the_audit_log_says_when(filled, tmp_path) -> None:
    backup(filled, tmp_path / "grid.backup")
    assert filled.admin().get("/v1/audit").body[0]["act"] == "backup"


def test_nothing_is_removed_meanwhile(live) -> None:
    assert not backup_running(live.state)
    with nothing_removed(live.state):
        assert backup_running(live.state)
        with nothing_removed(live.state):
            pass
        assert backup_running(live.state)
    assert not backup_running(live.state)


def test_a_content_that_is_gone_is_told(filled, tmp_path) -> None:
    shutil.rmtree(filled.state / "blobs" / hashlib.sha256(b"x" * 3_000_000).hexdigest()[:2])
    done = filled.run_command("backup", str(tmp_path / "file"))
    assert done.returncode == 0
    assert "missing" in done.stderr


def test_the_leftovers_of_a_killed_backup_go_with_the_next(live, tmp_path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    leftover = live.state / f".backup-xwhep.{gone.pid}"
    leftover.write_bytes(b"x")
    backup(live, tmp_path / "file")
    assert not leftover.exists()


def test_the_leftover_of_one_with_the_same_number_goes_too(live, tmp_path) -> None:
    """In a container that was started again, processes are counted from 1 again."""
    leftover = live.state / f".backup-xwhep.{os.getpid()}"
    leftover.write_bytes(b"x")
    with (tmp_path / "file").open("wb") as stream:
        write_backup(live.state, stream)
    assert not leftover.exists()
