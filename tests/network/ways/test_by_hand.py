"""The public role images, bound to nothing, run in each of the ways of images/README.md, locked down as it says.

mounted files         /etc/xwhep/ROLE-deployment of a deployment's packages, read-only
environment           XWHEP_SERVER_NAME, and XWHEP_JOIN
first-start defaults  no setting at all: the server makes what it needs, worker and client are told once
by the page           the commands of docs/howto/run-by-hand.md, typed as they stand
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import howto
from by_hand import LIMIT_S, ByHand
from grids import SERVER, Grid
from windows import Window

USERS = {"server": 990, "worker": 991, "client": 992}
HOMES = {"server": "/var/lib/xwhep-server", "worker": "/var/lib/xwhep-worker", "client": "/home/xwuser"}
PROGRAM = '#!/bin/sh\necho "hello $1"\n'
IDLE = ("sleep", "infinity")
Way = Callable[[ByHand, Grid, Path], None]


def image(grid: Grid, role: str) -> str:
    facts = grid.facts("images")[role]
    assert not [tag for tag in facts["tags"] if "img_" in tag], "this is the public image"
    return str(facts["digest"].removeprefix("sha256:"))


def mounted_files(hand: ByHand, grid: Grid, folder: Path) -> None:
    """What the packages install, on any machine, given to the images' users."""
    for role, user in USERS.items():
        subprocess.run(["dpkg-deb", "--extract", str(grid.conf_package(role)), str(folder / role)], check=True)
        place = folder / role / "etc" / "xwhep" / f"{role}-deployment"
        subprocess.run(["chown", "--recursive", f"{user}:{user}", str(place)], check=True)
        mounts = [f"--volume={place}:/etc/xwhep/{role}-deployment:ro", hand.volume(role, HOMES[role])]
        hand.start(role, image(grid, role), *mounts, words=IDLE if role == "client" else ())
        wait_for(hand, role)
    assert f"logged in to https://{SERVER}:4321" in hand.inside(
        "client", "xw", "login", "--user", "admin", text=grid.deployment.admin.password + "\n"
    )


def environment(hand: ByHand, grid: Grid, folder: Path) -> None:
    """Each setting as a variable; a join line is one too."""
    options = ("--env=XWHEP_SERVER_NAME=grid.example", "--env=XWHEP_SERVER_DISCOVERY=true")
    hand.start("server", image(grid, "server"), *options, hand.volume("server", HOMES["server"]))
    wait_for(hand, "server")
    for role in ("worker", "client"):
        line = join_line(hand, role)
        assert " https://grid.example:4321 " in line
        words = IDLE if role == "client" else ()
        hand.start(role, image(grid, role), f"--env=XWHEP_JOIN={line}", hand.volume(role, HOMES[role]), words=words)
        wait_for(hand, role)


def first_start_defaults(hand: ByHand, grid: Grid, folder: Path) -> None:
    """Worker and client read a line that the server prints, once; it then stands in their volumes."""
    hand.start("server", image(grid, "server"), hand.volume("server", HOMES["server"]))
    wait_for(hand, "server")
    address = hand.podman("inspect", "--format={{.NetworkSettings.IPAddress}}", f"{hand.run}-server").strip()
    worker = ["run", "--rm", "--interactive", hand.volume("worker", HOMES["worker"]), image(grid, "worker"), "join"]
    assert "joined https://" in hand.podman(*worker, text=join_line(hand, "worker", address))
    hand.start("worker", image(grid, "worker"), hand.volume("worker", HOMES["worker"]))
    wait_for(hand, "worker")
    client = ["run", "--rm", "--interactive", hand.volume("client", HOMES["client"]), image(grid, "client")]
    hand.podman(*client, "xw", "login", text=join_line(hand, "client", address))
    hand.start("client", image(grid, "client"), hand.volume("client", HOMES["client"]), words=IDLE)


def wait_for(hand: ByHand, role: str) -> None:
    wanted = {"server": " ready ", "worker": "serves https://"}
    if role in wanted:
        hand.says(role, wanted[role])


def join_line(hand: ByHand, role: str, address: str = "") -> str:
    words = ("--address", address) if address else ()
    return shlex.split(hand.inside("server", "xwhep-server", "join-line", role, *words))[1]


@pytest.mark.parametrize("way", [mounted_files, environment, first_start_defaults], ids=lambda way: way.__name__)
def test_role_images_run_unbound(hand: ByHand, configured: Grid, tmp_path: Path, way: Way) -> None:
    way(hand, configured, tmp_path)
    script = "cat >hello.sh && xw app register hello hello.sh && xw job submit hello --wait -- world"
    assert "hello world" in hand.inside("client", "sh", "-euc", script, text=PROGRAM)


# By the page


@dataclass(frozen=True, kw_only=True)
class Person:
    """Types the page's commands. `names`: what stands in the page -> what it is here; podman answers to `docker`."""

    environment: dict[str, str]
    folder: Path
    names: dict[str, str]

    def text(self, begins: str) -> str:
        """A block of the page, with the names of here."""
        page = howto.block("run-by-hand", begins)
        return howto.replaced(page, {word: ours for word, ours in self.names.items() if word in page})

    def typed(self, script: str) -> str:
        argv = ["sh", "-euc", script]
        done = subprocess.run(
            argv, cwd=self.folder, env=self.environment, capture_output=True, text=True, input="", check=False
        )
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def person(hand: ByHand, configured: Grid, tmp_path: Path) -> Person:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").symlink_to(shutil.which("podman") or "podman")
    names = {"create grid": f"create {hand.run}", "network rm grid": f"network rm {hand.run}"}
    names["--network grid"] = f"--network {hand.run}"
    for role in USERS:
        names[f"xwhep-{role}:VERSION"] = image(configured, role)
        names[f"grid-{role}"] = f"{hand.run}-{role}"
        names[f"grid-{role}:{HOMES[role]}"] = f"{hand.run}-{role}:{HOMES[role]}:U"  # as the page says of podman
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    return Person(environment={**hand.environment, "PATH": path}, folder=tmp_path, names=names)


def test_the_page_as_it_stands(hand: ByHand, person: Person) -> None:
    person.typed(person.text("docker network create"))
    hand.says("server", " ready ")
    assert person.typed(person.text("docker exec grid-server cat")).strip()
    name, network = person.typed(person.text("docker inspect")).split()
    assert name == hand.run
    person.names["--network ID"] = f"--network {network}"
    person.typed(person.text("export XWHEP_JOIN"))
    hand.says("worker", "serves https://")
    at_the_prompt(person)
    person.typed(person.text("docker stop"))
    deadline = time.monotonic() + LIMIT_S
    while hand.logs().count("serves https://") < 2:
        assert time.monotonic() < deadline, hand.logs()
        time.sleep(0.2)
    person.typed(person.text("docker rm"))
    for kind in ("ps --all", "volume ls", "network ls"):
        assert hand.run not in person.typed(f"docker {kind}")


def at_the_prompt(person: Person) -> None:
    """What is pasted is the line that the server printed."""
    ask, shell, *rest = person.text("docker run --tty").splitlines()
    line, prompt = person.typed(ask).strip(), re.compile(r"^ +\$ (.+?)(?: +# .+)?$")
    with Window(["sh", "-c", shell], person.environment) as window:
        window.wait_for(r"\$ ", LIMIT_S)
        for row in rest:
            if not (typed := prompt.match(row)):  # what the command before has printed
                window.wait_for(rf"\n{re.escape(row.strip())}\r\n", LIMIT_S)
                continue
            window.type(typed[1])
            if typed[1] == "xw login":
                window.wait_for("Join line", LIMIT_S)
                window.type(line)
                window.wait_for("logged in to https://", LIMIT_S)
        window.type("exit")
        assert window.process.wait(20) == 0
