"""images/server-master: from a git URL to packages and a server image, with what builds in containers are given.

The commands of docs/howto/server-master.md.
"""

from __future__ import annotations

import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clones import REPOSITORY
from daemon import outgoing_dockerd
from xwhep_packaging.artefacts import sha256_file

CONTEXT = REPOSITORY / "images" / "server-master"
DEBIAN = "xwhep-test-debian:trixie"
MADE = {"debs": "xwhep-test-debs:latest", "server": "xwhep-test-server:latest"}
LIMIT_S = 30.0
Call = Callable[..., str]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `debian:trixie` is: apt and the essential packages, and a dpkg that does not sync each file."""
    archive = tmp_path_factory.mktemp("debian") / "root.tar"
    hook = '--customize-hook=echo force-unsafe-io > "$1/etc/dpkg/dpkg.cfg.d/docker-apt-speedup"'
    argv = ["mmdebstrap", "--quiet", "--variant=apt", hook, "trixie", str(archive)]
    subprocess.run(argv, check=True, capture_output=True)
    return archive


@pytest.fixture
def git_url(built: Any, tmp_path: Path) -> Iterator[str]:
    """A server of git on this machine, as an administrator's is elsewhere."""
    bare = tmp_path / "served" / "grid.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(built.folder), str(bare)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--listen=127.0.0.1", f"--port={port}", f"--base-path={bare.parent}", "--export-all", "--reuseaddr"]
    process = subprocess.Popen(["git", "daemon", *options], start_new_session=True)
    try:
        deadline = time.monotonic() + LIMIT_S
        while not answers(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"git://127.0.0.1:{port}/grid.git"
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ran(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stdout[-4000:], done.stderr[-4000:])
    return done.stdout.strip()


@contextmanager
def docker(debian: Path, folder: Path) -> Iterator[Call]:
    """A daemon that gives builds what it gives them by default, and the network of this machine."""
    # containerd takes no longer path of a socket than 104 characters
    with (
        tempfile.TemporaryDirectory(prefix="run-", ignore_cleanup_errors=True) as short,
        outgoing_dockerd(Path(short)) as address,
    ):

        def call(*words: str) -> str:
            return ran("docker", "--host", address, *words)

        call("import", str(debian), DEBIAN)
        yield call


@contextmanager
def buildah(debian: Path, folder: Path) -> Iterator[Call]:
    """buildah and podman, in storage of their own; a chroot is all that buildah takes."""
    with tempfile.TemporaryDirectory(prefix="run-") as short:  # podman takes no longer path than 50 characters
        options = [f"--root={folder / 'root'}", f"--runroot={short}"]
        yield from _in_storage(debian, options)


def _in_storage(debian: Path, options: list[str]) -> Iterator[Call]:
    def call(*words: str) -> str:
        if words[0] == "build":
            return ran("buildah", *options, "build", "--isolation=chroot", "--format=docker", "--layers", *words[1:])
        return ran("podman", *options, *words)

    call("import", str(debian), DEBIAN)
    try:
        yield call
    finally:
        ran("buildah", *options, "rmi", "--all", "--force")


@pytest.mark.parametrize(
    "engine", [pytest.param(docker, id="docker", marks=pytest.mark.nightly), pytest.param(buildah, id="buildah")]
)
def test_packages_and_server_from_a_url(built: Any, debian: Path, git_url: str, tmp_path: Path, engine: Any) -> None:
    wanted = {Path(row["path"]).name: row["sha256"] for row in built.latest()["debs"]}
    arguments = [f"--build-arg=DEBIAN={DEBIAN}", f"--build-arg=GIT_URL={git_url}", "--network=host"]
    arguments.append(f"--file={CONTEXT / 'Containerfile'}")
    with engine(debian, tmp_path / "engine") as call:
        call("build", *arguments, "--target=debs", f"--tag={MADE['debs']}", str(CONTEXT))
        container = call("create", MADE["debs"], "/none").splitlines()[-1]
        call("cp", f"{container}:/debs", str(tmp_path))
        call("rm", container)
        made = {path.name: sha256_file(path) for path in (tmp_path / "debs").iterdir()}
        assert made == wanted, "not the packages that the pipeline makes, bit by bit"
        call("build", *arguments, f"--tag={MADE['server']}", str(CONTEXT))
        archive = tmp_path / "server.tar"
        call("save", "--output", str(archive), MADE["server"])
    with tarfile.open(archive) as tar:
        configuration = next(tar.extractfile(each) for each in tar if each.name.endswith(".json") and each.size > 500)
        text = configuration.read().decode() if configuration else ""
    assert '"User":"990:990"' in text
    assert "/usr/bin/xwhep-server" in text
