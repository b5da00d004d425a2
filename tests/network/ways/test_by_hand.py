"""The public role images, bound to nothing, run in each of the ways of images/README.md, locked down as it says.

docs/howto/run-by-hand.md has the same commands for a person.

mounted files         /etc/xwhep/ROLE-deployment of a deployment's packages, read-only
environment           XWHEP_SERVER_NAME, and XWHEP_JOIN
first-start defaults  no setting at all: the server makes what it needs, worker and client are told once
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from by_hand import ByHand
from grids import SERVER, Grid

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
