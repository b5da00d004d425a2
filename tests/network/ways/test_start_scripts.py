"""scripts/start-* with real engines: packages in a folder become a grid that does a job, and nothing of it stays.

docs/howto/connect-to-a-platform.md.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clones import REPOSITORY

ENGINES = ("podman", "docker")
LIMIT_S = 60.0
JOB = """
printf '#!/bin/sh\\necho "hello $1"\\n' >hello.sh
xw app register hello hello.sh >/dev/null
xw job submit hello --wait -- world
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A copy of the scripts folder, the packages of a build, and one engine."""

    folder: Path
    engine: str
    environment: dict[str, str]
    run: str  # begins the names of everything here

    def start(self, role: str, *words: str, code: int = 0, text: str = "") -> str:
        done = subprocess.run(
            self.argv(role, *words),
            input=text,
            capture_output=True,
            text=True,
            env=self.environment,
            check=False,
            timeout=LIMIT_S,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def argv(self, role: str, *words: str) -> list[str]:
        options = [f"--engine={self.engine}", f"--network={self.run}", f"--name={self.run}-{role}"]
        return [str(self.folder / "scripts" / f"start-{role}"), str(self.folder / "debs"), *options, *words]

    def ask(self, *words: str, check: bool = True) -> str:
        argv = [self.engine, *words]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.environment, check=False)
        assert not check or done.returncode == 0, (argv, done.stderr)
        return done.stdout.strip()

    def all_of(self, kind: str) -> list[str]:
        extra = ["--all"] if kind == "container" else []
        form = {"container": "{{.Names}}", "volume": "{{.Name}}", "network": "{{.Name}}"}[kind]
        rows = self.ask(kind, "ls", *extra, "--format", form).split()
        return [row for row in rows if row.startswith(self.run)]


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, built: Any, tmp_path: Path) -> Iterator[Place]:
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    (tmp_path / "debs").mkdir()
    for row in built.latest()["debs"]:
        shutil.copy(row["path"], tmp_path / "debs")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XWHEP_", "DOCKER"))}
    if request.param == "docker":
        kept["DOCKER_HOST"] = request.getfixturevalue("docker_daemon")
        give_images(built, kept["DOCKER_HOST"], tmp_path)
    place = Place(folder=tmp_path, engine=request.param, environment=kept, run=f"start-{secrets.token_hex(4)}")
    place.ask("network", "create", place.run)
    yield place
    for kind in ("container", "volume", "network"):
        for name in place.all_of(kind):
            place.ask(kind, "rm", *(["--force"] if kind == "container" else []), name)
    for role in ("server", "worker", "client"):
        for image in place.ask("images", "--quiet", f"localhost/xwhep-{role}-local").split():
            place.ask("rmi", "--force", image, check=False)


def give_images(built: Any, address: str, folder: Path) -> None:
    """The worker's image stands for a base that was fetched before."""
    for image in built.latest()["images"]:
        archive = folder / "image.tar"
        argv = ["buildah", "push", "--quiet", image["digest"], f"docker-archive:{archive}:{image['tags'][0]}"]
        subprocess.run(argv, check=True, capture_output=True)
        subprocess.run(["docker", "--host", address, "load", "--input", str(archive)], check=True, capture_output=True)
        archive.unlink()


def join_line(place: Place, role: str) -> str:
    deadline = time.monotonic() + LIMIT_S
    while not (line := place.ask("exec", f"{place.run}-server", "xwhep-server", "join-line", role, check=False)):
        assert time.monotonic() < deadline, place.ask("logs", f"{place.run}-server")
        time.sleep(0.2)
    return line


def test_from_a_folder_of_packages_to_a_result(place: Place) -> None:
    place.start("server", "--detach", "--port=0")
    line = join_line(place, "worker")
    place.start("worker", "--detach", "--join=-", text=line)
    token = line.split("'")[1].split()[-1]
    assert token not in place.ask("inspect", f"{place.run}-worker")
    assert token not in place.ask("history", "--no-trunc", f"localhost/xwhep-worker-local:{version_tag(place)}")
    answer = place.start("client", "--join=-", "--", "sh", "-euc", JOB, text=join_line(place, "client"))
    assert answer.splitlines()[-1] == "hello world"
    assert f"{place.run}-client" not in place.all_of("container")
    assert "runs already" in refused(place, "worker", 37)

    place.ask("stop", f"{place.run}-worker")
    place.start("worker", "--detach")  # no line: what it is stands in its volume
    again = place.start("client", "--", "sh", "-euc", "xw job submit hello --wait -- again")
    assert again.splitlines()[-1] == "hello again"


def version_tag(place: Place) -> str:
    return place.ask("images", "--format", "{{.Tag}}", "localhost/xwhep-worker-local").splitlines()[0]


def refused(place: Place, role: str, code: int, *words: str) -> str:
    done = subprocess.run(
        place.argv(role, *words), capture_output=True, text=True, env=place.environment, check=False, timeout=LIMIT_S
    )
    assert done.returncode == code, done.stderr
    return done.stderr


def test_ctrl_c_stops_the_server_and_keeps_its_state(place: Place) -> None:
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *place.argv("server", "--port=0")],
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "ready" in line:
            break
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    rest = process.communicate(timeout=LIMIT_S)[0]
    assert process.returncode == 0, [*seen, rest]
    assert time.monotonic() - started < 10
    assert place.all_of("container") == []
    assert place.all_of("volume") == [f"{place.run}-server"]


def test_a_port_in_use_is_named(place: Place) -> None:
    place.start("server", "--detach", "--port=24321")
    place.ask("stop", f"{place.run}-server")
    place.start("server", "--detach", "--port=24321")
    second = [word.replace(f"{place.run}-server", f"{place.run}-other") for word in place.argv("server")]
    done = subprocess.run(
        [*second, "--port=24321", "--detach"], capture_output=True, text=True, env=place.environment, check=False
    )
    assert done.returncode == 34, done.stderr
    assert "port 24321 of this machine is in use" in done.stderr
    assert f"{place.run}-other" not in place.all_of("container")
