"""Programs of two releases beside each other, and a server's state that moves between them: processes, loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clones import REPOSITORY
from releases import PREVIOUS, VERSIONS, unpacked

TODAY = "today"
SOON_S = 30.0
ROLES = ("server", "worker", "client")
PROGRAM = '#!/bin/sh\necho "hello $1"\ncat\nwc -l < table.csv\n'
# Servers go first (docs/howto/upgrade.md): a worker may be one release newer than its server, and any number older.
PAIRS = [*((TODAY, version) for version in VERSIONS), (PREVIOUS, TODAY)]
NEWER_STATE = 25  # exit code of a server that finds a database of a later one


@dataclass(frozen=True, kw_only=True)
class Programs:
    """What each role's Python imports from, and the folder for everything that the programs write."""

    trees: Mapping[str, Path]
    folder: Path
    logs: list[Path] = field(default_factory=list)

    def argv(self, role: str, *words: str) -> list[str]:
        return [sys.executable, "-m", f"xwhep.{role}.main", *words]

    def environment(self, role: str, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XWHEP_")}
        own = {"PYTHONPATH": str(self.trees[role]), "XWHEP_CLIENT_STATE": str(self.folder / "client")}
        return {**kept, **own, **more}

    def run(self, role: str, *words: str, text: str = "", code: int = 0) -> str:
        done = subprocess.run(
            self.argv(role, *words),
            env=self.environment(role),
            cwd=self.folder,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=SOON_S,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + (done.stderr if code else "")

    @contextmanager
    def running(self, role: str, *words: str, **environment: str) -> Iterator[Path]:
        """A program in the background, and its log."""
        log = self.folder / f"{role}.log"
        with log.open("a") as stream:
            process = subprocess.Popen(
                self.argv(role, "run", *words),
                env=self.environment(role, **environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(SOON_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def trees_of(version: str, folder: Path) -> dict[str, Path]:
    return dict.fromkeys(ROLES, REPOSITORY / "src") if version == TODAY else unpacked(version, folder / "then")


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xwhep-skew-") as folder:
        Path(folder).chmod(0o711)  # the user that runs jobs must get through, which pytest's folders do not let
        yield Path(folder)


def port_of(log: Path, seen: int = 0) -> int:
    """Of a server that says that it is ready."""
    deadline = time.monotonic() + SOON_S
    while not (lines := [line for line in log.read_text()[seen:].splitlines() if " ready " in line]):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return int(lines[-1].rpartition(":")[2])


@contextmanager
def serving(programs: Programs, port: int = 0) -> Iterator[int]:
    """The server, on its port of before where one is given."""
    log = programs.folder / "server.log"
    seen = len(log.read_text()) if log.exists() else 0
    words = ("--state", str(programs.folder / "server"), "--listen", f"127.0.0.1:{port}")
    with programs.running("server", *words):
        yield port_of(log, seen)


def join_line(programs: Programs, role: str, port: int) -> str:
    words = ("join-line", role, "--state", str(programs.folder / "server"), "--address", f"localhost:{port}")
    return programs.run("server", *words).split("'")[1]


def register(programs: Programs, port: int) -> None:
    programs.run("client", "login", text=join_line(programs, "client", port) + "\n")
    (programs.folder / "hello.sh").write_text(PROGRAM)
    (programs.folder / "table.csv").write_text("1\n2\n3\n")
    programs.run("client", "app", "register", "hello", "hello.sh")
    programs.run("client", "data", "put", "table.csv")


def submit(programs: Programs, name: str) -> str:
    """A job with arguments, standard input and data, to its end; returns what it wrote."""
    (programs.folder / "input").write_text("from stdin\n")
    words = ("job", "submit", "hello", "--stdin", "./input", "--data", "table.csv", "--wait", "--", name)
    return programs.run("client", *words)


@pytest.mark.parametrize(("server", "partners"), PAIRS, ids=lambda version: version)
def test_releases_work_together(place: Path, server: str, partners: str) -> None:
    ours, theirs = trees_of(server, place), trees_of(partners, place)
    programs = Programs(trees={**theirs, "server": ours["server"]}, folder=place)
    with serving(programs) as port, ExitStack() as stack:
        register(programs, port)
        line = join_line(programs, "worker", port)
        state = ("--state", str(place / "worker"), "--name", "skewed")
        stack.enter_context(programs.running("worker", *state, XWHEP_JOIN=line))
        assert submit(programs, "there") == "hello there\nfrom stdin\n3\n"
        (job,) = json.loads(programs.run("client", "job", "list", "--format", "json"))
        assert (job["state"], job["app"], job["worker"]) == ("completed", "hello", "skewed")
        programs.run("client", "job", "results", job["id"], "--output", "out")
        assert (place / "out" / "stdout").read_text() == "hello there\nfrom stdin\n3\n"
        assert [row["name"] for row in json.loads(programs.run("client", "worker", "list", "--format", "json"))]
        programs.run("client", "job", "rm", job["id"])
        assert json.loads(programs.run("client", "job", "list", "--format", "json")) == []


def test_state_moves_to_the_new_server_and_back(place: Path) -> None:
    """N-1, N, and N-1 again: at the way back with the backup, as docs/howto/upgrade.md says."""
    before = Programs(trees=unpacked(PREVIOUS, place / "then"), folder=place)
    after = Programs(trees=trees_of(TODAY, place), folder=place)
    with serving(before) as port:
        register(before, port)
        line = join_line(before, "worker", port)
    worker = ("--state", str(place / "worker"), "--name", "steady")
    with before.running("worker", *worker, XWHEP_JOIN=line):  # one worker of then, all the while
        with serving(before, port):
            assert submit(before, "one").startswith("hello one\n")
            before.run("server", "backup", str(place / "before.backup"), "--state", str(place / "server"))
        with serving(after, port):
            assert submit(after, "two").startswith("hello two\n")  # the login is that of before
            assert labels(after) == ["completed", "completed"]
        if schema(before) == schema(after):  # else it refuses, as below
            with serving(before, port):
                assert labels(before) == ["completed", "completed"]
                assert submit(before, "between").startswith("hello between\n")
        after.run("server", "restore", "--force", str(place / "before.backup"), "--state", str(place / "server"))
        with serving(before, port):
            assert labels(before) == ["completed"]
            assert submit(before, "three").startswith("hello three\n")


def schema(programs: Programs) -> str:
    """The last of the server's migrations."""
    return max(path.name for path in programs.trees["server"].glob("xwhep/server/sql/migrations/*.sql"))


def labels(programs: Programs) -> list[str]:
    return [job["state"] for job in json.loads(programs.run("client", "job", "list", "--format", "json"))]


def test_an_old_server_refuses_a_newer_database(place: Path) -> None:
    """And says what to do; nothing of it is changed."""
    before = Programs(trees=unpacked(VERSIONS[0], place / "then"), folder=place)
    after = Programs(trees=trees_of(TODAY, place), folder=place)
    with serving(after) as port:
        register(after, port)
    said = before.run("server", "run", "--state", str(place / "server"), code=NEWER_STATE)
    assert "install the server version that wrote it, or a newer one" in said
    with serving(after, port):
        assert [row["name"] for row in json.loads(after.run("client", "data", "list", "--format", "json"))] == [
            "table.csv"
        ]
