"""A running deployment gets the server image of a later version on the same volume, under jobs that run and wait."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from by_hand import ByHand, by_hand
from clones import REPOSITORY
from grids import Grid
from reversioned import reversioned

EARLIER = "11.0.0~a"
PASSWORD = "a password of ann's"
INSTALL = """FROM {base}
USER 0
RUN --mount=type=bind,source=.,target=/run/debs dpkg --install /run/debs/*.deb
USER 990:990
"""
HOME = "/var/lib/xwhep-server"
FILL = """
cat >hello.sh
xw app register hello hello.sh
echo kept | xw data put - --name kept.txt
"""
READ = """
for job in "$@"; do xw job results --force "$job" -o "$job" >/dev/null; cat "$job/stdout"; done
xw data get kept.txt -o -
"""
KEPT = "hello 1\nhello 2\nhello 3\nkept\n"
# Runs until jobs_process.py lets it go, which finds it by what its child is called.
PROGRAM = """#!/bin/bash
if [ "$1" = 1 ]; then
    trap 'kill $!; echo "hello $1"; exit 0' USR1
    (exec -a upgraded sleep infinity) &
    wait
fi
echo "hello $1"
"""
SIGNAL = (REPOSITORY / "tests" / "network" / "jobs_process.py").read_text("utf-8")


@pytest.fixture(scope="module")
def earlier(configured: Grid, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The deployment's server image as an earlier version made it."""
    folder = tmp_path_factory.mktemp("earlier")
    reversioned(configured.package("server"), EARLIER, folder)
    base = configured.facts("bound")["server"]["digest"].removeprefix("sha256:")
    (folder / "Containerfile").write_text(INSTALL.format(base=base))
    argv = ["buildah", "build", "--quiet", "--isolation=chroot", "--format=docker", "--layers=false", str(folder)]
    made = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    yield made
    subprocess.run(["buildah", "rmi", "--force", made], check=False, capture_output=True)


def start_server(hand: ByHand, image: str, *options: str) -> str:
    """Its version."""
    hand.start("server", image, *options)
    hand.says("server", " ready ")
    return hand.inside("server", "xwhep-server", "version").split()[1]


def jobs(hand: ByHand) -> dict[str, dict[str, object]]:
    return {job["id"]: job for job in json.loads(hand.inside("client", "xw", "job", "list", "--format", "json"))}


def prepare(hand: ByHand, grid: Grid, network: str) -> list[str]:
    """A worker of one slot, a user, data, a program; jobs: one that runs, two that wait."""
    hand.start("worker", grid.image("worker"), network, "--env=XWHEP_WORKER_SLOTS=1")
    hand.start("client", grid.image("client"), network, words=("sleep", "infinity"))
    hand.says("worker", "serves https://")
    hand.inside("server", "xwhep-server", "user", "add", "ann", text=PASSWORD + "\n")
    hand.inside("client", "xw", "login", "--user", "ann", text=PASSWORD + "\n")
    hand.inside("client", "sh", "-euc", FILL, text=PROGRAM)
    submit = "for n in 1 2 3; do xw job submit hello -- $n; done"
    made = hand.inside("client", "sh", "-euc", submit).split()
    tell_first(hand, "seen")
    return made


def tell_first(hand: ByHand, wish: str) -> None:
    """`seen`: wait until it runs; `release` it."""
    hand.inside("worker", "python3", "-c", SIGNAL, "upgraded", wish)


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """`made`: the jobs; `before`: their states when the earlier server stopped; `again`: options of the server."""

    hand: ByHand
    made: list[str]
    before: list[object]
    again: tuple[str, str]


@pytest.fixture(scope="module")
def upgraded(configured: Grid, earlier: str, podman_settings: Path | None) -> Iterator[Upgraded]:
    """The earlier server has stopped under jobs; the later one runs, and the job that was held may end."""
    with by_hand(podman_settings) as hand:
        network, address = hand.network()
        assert start_server(hand, earlier, hand.volume("server", HOME), network, address) == EARLIER
        made = prepare(hand, configured, network)
        before = sorted(str(job["state"]) for job in jobs(hand).values())
        hand.stop("server")
        version = start_server(hand, configured.image("server"), hand.volume("server", HOME), network, address)
        assert version == configured.facts("images")["server"]["version"]
        tell_first(hand, "release")
        yield Upgraded(hand=hand, made=made, before=before, again=(network, address))


def results(hand: ByHand, made: list[str]) -> str:
    """Of the jobs and of the data, by ann's session of before."""
    return hand.inside("client", "sh", "-euc", READ, "sh", *made)


def test_upgrade_keeps_jobs_data_and_logins(upgraded: Upgraded, configured: Grid) -> None:
    hand, made = upgraded.hand, upgraded.made
    assert upgraded.before == ["pending", "pending", "running"]
    hand.inside("client", "xw", "job", "wait", *made)
    ended = jobs(hand)
    assert {job: ended[job]["attempt"] for job in made} == dict.fromkeys(made, 1), "nothing ran twice"
    assert results(hand, made) == KEPT
    for login, password in (("admin", configured.deployment.admin.password), ("ann", PASSWORD)):
        assert f"as {login} " in hand.inside("client", "xw", "login", "--user", login, text=password + "\n")


def test_backup_and_restore_into_another_volume(upgraded: Upgraded, configured: Grid, tmp_path: Path) -> None:
    """The two commands of docs/howto/backup-and-restore.md, through a shell's pipes."""
    hand, copy, image = upgraded.hand, tmp_path / "grid.backup", configured.image("server")
    hand.inside("client", "xw", "job", "wait", *upgraded.made)
    hand.typed(f"podman exec {hand.run}-server xwhep-server backup - > {copy}")
    hand.stop("server")
    volume = hand.volume("restored", HOME)
    hand.typed(f"podman run --rm -i {volume} {image} restore - < {copy}")
    start_server(hand, image, volume, *upgraded.again)
    assert results(hand, upgraded.made) == KEPT
