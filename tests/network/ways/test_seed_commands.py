"""The administrator's old commands, typed into a shell as they stand, on the images of a deployment.

    docker run xwserverimg_TIME
    docker inspect CONTAINER                                        -> the network's id
    docker run --network=ID xwworkerimg_TIME
    docker run -ti --network=ID xwclientimg_TIME /bin/bash          -> a job goes through

The images are those of docs/howto/configure.md. With docker, and with podman under docker's name, as Debian's package
podman-docker has it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deployments import PASSWORD
from grids import Grid
from windows import Window

READY_S = 60.0
JOB_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A person's shell: what they type goes to `sh -c`; `environment` decides which engine answers to `docker`."""

    environment: dict[str, str]
    images: dict[str, str] = field(default_factory=dict)
    volume: str = field(default_factory=lambda: f"xwhep-test-{secrets.token_hex(4)}")

    def typed(self, line: str) -> str:
        done = subprocess.run(["sh", "-c", line], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def containers(self, *images: str) -> list[str]:
        """Ids of the containers of images. Not by a filter: podman's "ancestor" knows no short names."""
        rows = [line.split() for line in self.typed("docker ps --all --format '{{.ID}} {{.Image}}'").splitlines()]
        return [row[0] for row in rows if any(image in row[1] for image in images)]

    @contextmanager
    def left_running(self, line: str, until: str) -> Iterator[str]:
        """A command that stays in the foreground of its own window; gives what it printed up to `until`."""
        with Window(["sh", "-c", line], self.environment) as window:
            yield window.wait_for(until, READY_S)


@pytest.fixture(params=["podman", "docker"])
def shell(request: pytest.FixtureRequest, configured: Grid, tmp_path: Path) -> Iterator[Shell]:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    environment = {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
    if request.param == "podman":
        (binaries / "docker").symlink_to(shutil.which("podman") or "podman")
        environment["CONTAINERS_CONF"] = str(request.getfixturevalue("podman_settings"))
    else:
        environment["DOCKER_HOST"] = request.getfixturevalue("docker_daemon")
        configured.clone.doit("bound", DOCKER_HOST=environment["DOCKER_HOST"])
    made = Shell(
        environment=environment, images={role: configured.image(role) for role in ("server", "worker", "client")}
    )
    try:
        yield made
    finally:
        if found := " ".join(made.containers(*made.images.values())):
            # podman's rm alone lets them end by themselves for 10 s; those that have ended cannot be killed.
            made.typed(f"docker kill {found} >/dev/null 2>&1; docker rm --force --volumes {found}")
        made.typed(f"docker volume rm --force {made.volume}")


def test_three_commands_and_a_job(shell: Shell) -> None:
    server, worker, client = (shell.images[role] for role in ("server", "worker", "client"))
    with shell.left_running(f"docker run {server}", until="ready"):
        (container,) = shell.containers(server)
        (inspected,) = json.loads(shell.typed(f"docker inspect {container}"))
        ((_, network),) = inspected["NetworkSettings"]["Networks"].items()
        with shell.left_running(
            f"docker run --network={network['NetworkID']} {worker}", until=r"serves https://grid\.invalid"
        ):
            job_in_a_client(shell, f"docker run -ti --network={network['NetworkID']} {client} /bin/bash")


@pytest.mark.parametrize("shell", ["podman"], indirect=True)
def test_every_secret_renewed_under_a_running_worker(shell: Shell, configured: Grid) -> None:
    """The server alone gets a new image. A worker that ran all the time goes on, a client of before still connects."""
    old, clone = dict(shell.images), configured.clone
    run = f"docker run --volume={shell.volume}:/var/lib/xwhep-server:U"
    with (
        shell.left_running(f"{run} {old['server']}", until="ready"),
        shell.left_running(f"docker run {old['worker']}", until=r"serves https://grid\.invalid"),
    ):
        for what in ("authority", "server-key", "join-token", "admin"):
            clone.doit("configure", f"values={clone.folder.parent / 'answers'}", f"rotate={what}")
        clone.doit("bound:server")
        shell.images["renewed"] = configured.image("server")
        assert shell.images["renewed"] != old["server"]
        shell.typed(f"docker stop {shell.containers(old['server'])[0]}")
        with shell.left_running(f"{run} {shell.images['renewed']}", until="ready"):
            password = configured.deployment.admin.password
            assert password != PASSWORD
            job_in_a_client(shell, f"docker run -ti {old['client']} /bin/bash", password)
    clone.doit("bound")  # other tests of this deployment take its images, which must be of one time


def job_in_a_client(shell: Shell, line: str, password: str = PASSWORD) -> None:
    """What a user does at the prompt: log in, look at the workers, register a program, run it."""
    with Window(["sh", "-c", line], shell.environment) as window:
        window.wait_for(r"\$ ", READY_S)
        window.type("xw login --user admin")
        window.wait_for("Password of admin", READY_S)
        window.type(password)
        window.wait_for(r"logged in to https://grid\.invalid:4321 as admin \(admin\)", READY_S)
        window.type("xw worker list && echo lis''ted")
        window.wait_for(r"listed", READY_S)
        window.type(
            "printf '#!/bin/sh\\necho \"hello $1\"\\n' > hello.sh && xw app register hello hello.sh && echo kno''wn"
        )
        window.wait_for("known", READY_S)
        window.type("xw job submit hello --wait -- world && echo en''ded")
        seen = window.wait_for("ended", JOB_S)
        assert "hello world" in seen
        assert password not in seen
        window.type("exit")
        assert window.process.wait(20) == 0
