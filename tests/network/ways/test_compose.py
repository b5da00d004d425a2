"""A composed grid up and down as an administrator does it: real Compose, on podman and on a docker daemon.

docs/howto/compose.md: the pipeline's commands on both; on docker those of "Without the pipeline" too, as they stand.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from howto import block
from xwhep_packaging.deploy.compose import find_compose
from xwhep_packaging.engines import PodmanEngine

NAME = "grid"
ENGINES = ("podman", "docker")


@pytest.fixture(scope="module", autouse=True)
def _compose(built: Any) -> None:
    """The clone finds Compose where `scripts/doit --tools` puts it."""
    tools = built.folder / ".tox" / "dev" / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    program = tools / "docker-compose"
    if not program.exists():
        program.symlink_to(find_compose()[0])


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which docker, podman and the pipeline see that engine; nothing of the grid stays."""
    if request.param == "docker":
        address = request.getfixturevalue("docker_daemon")
        environment = {"DOCKER_HOST": address, "XWHEP_ENGINE": "docker"}
    else:
        found = PodmanEngine(memory=tmp_path).configuration(tmp_path / "log")
        environment = {"XWHEP_ENGINE": "podman", "CONTAINERS_CONF": str(found)}
    yield environment
    remove_all(environment)


def remove_all(environment: dict[str, str]) -> None:
    for kind, verb in (("container", ["rm", "--force", "--volumes"]), ("network", ["rm"]), ("volume", ["rm"])):
        found = ours(environment, kind)
        if found:
            ask(environment, kind, *verb, *found)


def ask(environment: dict[str, str], *words: str, text: str = "") -> str:
    argv = [environment["XWHEP_ENGINE"], *words]
    done = subprocess.run(
        argv,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", **environment},
    )
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
    return done.stdout


def ours(environment: dict[str, str], kind: str) -> list[str]:
    """Names or ids of what Compose made for our project."""
    label = f"label=com.docker.compose.project={NAME}"
    extra = ["--all"] if kind == "container" else []
    return ask(environment, kind, "ls", *extra, "--quiet", "--filter", label).split()


def test_up_scaled_down_and_up_again(built: Any, engine: dict[str, str], tmp_path: Path) -> None:
    out = built.doit("deploy:compose_up", "workers=2", **engine)
    assert "with 2 workers" in out
    assert "test job passed" in out
    (connect,) = re.findall(r"^  connect  (.+)$", out, re.M)
    assert "https://localhost:" in ask(engine, *shlex.split(connect)[1:])
    assert len(ours(engine, "container")) == 3
    folder = built.store / "deploy" / "compose"
    token = shlex.split((folder / "secrets" / "worker.join").read_text())[1].split()[-1]
    assert len(token) > 20
    assert token not in (folder / "compose.yaml").read_text()
    for container in ours(engine, "container"):
        inspected = ask(engine, "inspect", container)
        assert token not in inspected
        assert json.loads(inspected)[0]["HostConfig"]["ReadonlyRootfs"] is True
    before = ask(engine, "exec", f"{NAME}-server-1", "sha256sum", "/var/lib/xwhep-server/ca.pem")

    out = built.doit("deploy:compose_down", **engine)
    assert "its data stays" in out
    assert ours(engine, "container") == []
    assert ours(engine, "network") == []
    assert f"{NAME}_server" in ours(engine, "volume")

    if engine["XWHEP_ENGINE"] == "docker":
        up_without_the_pipeline(folder, engine, tmp_path)
    else:
        built.doit("deploy:compose_up", **engine)
    assert ask(engine, "exec", f"{NAME}-server-1", "sha256sum", "/var/lib/xwhep-server/ca.pem") == before
    if engine["XWHEP_ENGINE"] == "docker":
        the_end(folder, engine, tmp_path)


JOB = """
printf '#!/bin/sh\\necho "hello $1"\\n' >hello.sh
xw login >/dev/null
xw app register hello hello.sh >/dev/null
xw job submit hello --wait -- world
"""


def terminal(engine: dict[str, str], folder: Path) -> dict[str, str]:
    """The environment of a person's shell: `docker compose` is the Compose that was found; root needs no sudo."""
    plugins, programs = folder / "docker" / "cli-plugins", folder / "bin"
    for each in (plugins, programs):
        each.mkdir(parents=True, exist_ok=True)
    plugin, sudo = plugins / "docker-compose", programs / "sudo"
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(find_compose()[0])
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    found = {"DOCKER_HOST": engine["DOCKER_HOST"], "DOCKER_CONFIG": str(plugins.parent)}
    return {**os.environ, **found, "PATH": f"{programs}:{os.environ['PATH']}"}


def typed(environment: dict[str, str], script: str, folder: Path) -> str:
    argv = ["sh", "-euc", script]
    done = subprocess.run(argv, cwd=folder, env=environment, input="", capture_output=True, text=True, check=False)
    assert done.returncode == 0, (script, done.stdout, done.stderr)
    return done.stdout


def up_without_the_pipeline(folder: Path, engine: dict[str, str], scratch: Path) -> None:
    """The page's own commands, and a job through the grid."""
    environment = terminal(engine, scratch)
    shutil.rmtree(folder / "secrets")
    typed(environment, block("compose", "docker compose up --detach --wait server"), folder)
    assert len(ours(engine, "container")) == 4
    line, shell = block("compose", "docker compose run").splitlines()[:2]
    assert shell == "docker compose run --rm client"
    client = shlex.join(["docker", "compose", "run", "--rm", "--no-TTY", "client", "sh", "-euc", JOB])
    assert "hello world" in typed(environment, f"{line} | {client}", folder)


def the_end(folder: Path, engine: dict[str, str], scratch: Path) -> None:
    """As the page says; the workers' volumes go too, the server's and the client's stay."""
    typed(terminal(engine, scratch), block("compose", "docker compose rm"), folder)
    assert ours(engine, "container") == []
    assert ours(engine, "network") == []
    assert set(ask(engine, "volume", "ls", "--quiet").split()) == {f"{NAME}_server", f"{NAME}_client"}


def test_down_without_a_grid_says_what_to_type(built: Any, tmp_path: Path) -> None:
    out = built.doit("deploy:compose_down", code=27, XWHEP_ENGINE="podman", XWHEP_STORE=str(tmp_path / "empty"))
    assert "deploy:compose_up" in out
    assert "Traceback" not in out
