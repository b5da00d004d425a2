"""Running containers of the release before get those of today on the same volumes, under jobs; and then go back again.

docs/howto/upgrade.md and docs/howto/backup-and-restore.md; the commands for containers as they stand there. What the
release before can do with a database of today's is tried too, and what an older one says to it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from by_hand import ByHand, by_hand
from clones import REPOSITORY
from grids import Grid
from howto import block
from releases import PREVIOUS, VERSIONS, packages

PASSWORD = "a password of ann's"
INSTALL = """FROM {base}
USER 0
RUN --mount=type=bind,source=.,target=/run/debs dpkg --install /run/debs/*.deb
USER {user}
"""
USERS = {"server": "990:990", "worker": "991:991"}
HOMES = {"server": "/var/lib/xwhep-server", "worker": "/var/lib/xwhep-worker", "client": "/home/xwuser"}
FILL = """
cat >hello.sh
xw app register hello hello.sh
echo kept | xw data put - --name kept.txt
xw job submit hello --wait -- first
"""
READ = """
for job in "$@"; do xw job results --force "$job" -o "$job" >/dev/null; cat "$job/stdout"; done
xw data get kept.txt -o -
"""
RUN = 'xw job submit hello --wait -- "$1"'
FIRST = "hello first\nkept\n"
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
def earlier(configured: Grid, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """The deployment's images as an earlier release made them."""
    made: dict[tuple[str, str], str] = {}

    def image(role: str, version: str = PREVIOUS) -> str:
        if (role, version) not in made:
            made[role, version] = image_of_then(configured, role, version, tmp_path_factory.mktemp("earlier"))
        return made[role, version]

    yield image
    subprocess.run(["buildah", "rmi", "--force", *made.values()], check=False, capture_output=True)


def image_of_then(grid: Grid, role: str, version: str, folder: Path) -> str:
    package = packages(version)[f"xwhep-{role}"]
    (folder / package.name).write_bytes(package.read_bytes())
    base = grid.facts("bound")[role]["digest"].removeprefix("sha256:")
    (folder / "Containerfile").write_text(INSTALL.format(base=base, user=USERS[role]))
    argv = ["buildah", "build", "--quiet", "--isolation=chroot", "--format=docker", "--layers=false", str(folder)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def schema(server: Path) -> str:
    """The last of the migrations in a server's package."""
    listed = subprocess.run(["dpkg-deb", "--contents", str(server)], check=True, capture_output=True, text=True).stdout
    return max(Path(line.split()[-1]).name for line in listed.splitlines() if "/migrations/0" in line)


@dataclass(frozen=True, kw_only=True)
class Upgraded:
    """`made`: the jobs; `before`: their states when the earlier server stopped; `backup`: taken before; `first`: a job
    that had ended then; `again`: options of the server."""

    hand: ByHand
    folder: Path
    first: str
    made: list[str]
    before: list[object]
    again: tuple[str, str]

    def typed(self, page: str, begins: str, **words: str) -> None:
        """A block of the page, with our names in place of the page's; podman answers to `docker`."""
        names = {"grid-server": f"{self.hand.run}-server", **words}
        script = block(page, begins, names)
        self.hand.typed(f'set -e; docker() {{ podman "$@"; }}; cd {self.folder}; {script}')

    def server_typed(self, page: str, begins: str, image: str, **words: str) -> None:
        """A block that ends with another server. Podman is told to give the volume to the image's user."""
        names = {"--network grid": " ".join(self.again), "xwhep-server:VERSION": image, **words}
        self.typed(page, begins, **names)
        self.hand.says("server", " ready ")

    def restored(self, image: str, backup: str, volume: str) -> None:
        place = {f"grid-server-2:{HOMES['server']}": f"{self.hand.run}-{volume}:{HOMES['server']}:U"}
        self.server_typed("backup-and-restore", "docker stop", image, **place, **{"grid.backup": backup})

    def version(self) -> str:
        return self.hand.inside("server", "xwhep-server", "version").split()[1]


@pytest.fixture(scope="module")
def upgraded(
    configured: Grid,
    earlier: Callable[..., str],
    podman_settings: Path | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Upgraded]:
    """The earlier server has stopped under jobs; the later one runs, and the job that was held may end."""
    with by_hand(podman_settings) as hand:
        again = hand.network()
        start_server(hand, earlier("server"), *again)
        first, *made = prepare(hand, configured, earlier, again[0])
        folder = tmp_path_factory.mktemp("backups")
        done = Upgraded(hand=hand, folder=folder, first=first, made=made, before=states(hand), again=again)
        assert done.version() == PREVIOUS
        place = {f"grid-server:{HOMES['server']}": f"{hand.run}-server:{HOMES['server']}:U"}
        done.server_typed("upgrade", "(umask", configured.image("server"), **place)
        assert done.version() == configured.facts("images")["server"]["version"]
        tell_first(hand, "release")
        yield done


def start_server(hand: ByHand, image: str, *options: str) -> None:
    hand.start("server", image, hand.volume("server", HOMES["server"]), *options)
    hand.says("server", " ready ")


def start_partner(hand: ByHand, role: str, image: str, network: str) -> None:
    words = ("sleep", "infinity") if role == "client" else ()
    hand.start(role, image, network, "--env=XWHEP_WORKER_SLOTS=1", hand.volume(role, HOMES[role]), words=words)
    if role == "worker":
        hand.says("worker", "serves https://")


def prepare(hand: ByHand, grid: Grid, earlier: Callable[..., str], network: str) -> list[str]:
    """A worker of one slot, a user, data, a program; jobs: one that has ended, one that runs, two that wait."""
    start_partner(hand, "worker", earlier("worker"), network)
    start_partner(hand, "client", grid.image("client"), network)
    hand.inside("server", "xwhep-server", "user", "add", "ann", text=PASSWORD + "\n")
    hand.inside("client", "xw", "login", "--user", "ann", text=PASSWORD + "\n")
    hand.inside("client", "sh", "-euc", FILL, text=PROGRAM)
    first = list(jobs(hand))
    submit = "for n in 1 2 3; do xw job submit hello -- $n; done"
    made = hand.inside("client", "sh", "-euc", submit).split()
    tell_first(hand, "seen")
    return [*first, *made]


def tell_first(hand: ByHand, wish: str) -> None:
    """`seen`: wait until it runs; `release` it."""
    hand.inside("worker", "python3", "-c", SIGNAL, "upgraded", wish)


def jobs(hand: ByHand) -> dict[str, dict[str, object]]:
    return {job["id"]: job for job in json.loads(hand.inside("client", "xw", "job", "list", "--format", "json"))}


def states(hand: ByHand) -> list[object]:
    return sorted(str(job["state"]) for job in jobs(hand).values())


def workers(hand: ByHand) -> list[str]:
    return [row["name"] for row in json.loads(hand.inside("client", "xw", "worker", "list", "--format", "json"))]


def results(hand: ByHand, *made: str) -> str:
    """Of the jobs and of the data, by ann's session of before."""
    return hand.inside("client", "sh", "-euc", READ, "sh", *made)


def logins_work(hand: ByHand, grid: Grid) -> None:
    """In another session: that of before has to last."""
    for login, password in (("admin", grid.deployment.admin.password), ("ann", PASSWORD)):
        words = ("env", "XWHEP_CLIENT_STATE=/tmp/other", "xw", "login", "--user", login)
        assert f"as {login} " in hand.inside("client", *words, text=password + "\n")


def one_more_job(hand: ByHand, word: str) -> None:
    assert f"hello {word}" in hand.inside("client", "sh", "-euc", RUN, "sh", word)


def test_upgrade_keeps_jobs_data_and_logins(upgraded: Upgraded, configured: Grid) -> None:
    hand, made = upgraded.hand, upgraded.made
    assert upgraded.before == ["completed", "pending", "pending", "running"]
    hand.inside("client", "xw", "job", "wait", *made)
    ended = jobs(hand)
    assert {job: ended[job]["attempt"] for job in made} == dict.fromkeys(made, 1), "nothing ran twice"
    assert results(hand, *made) == KEPT
    logins_work(hand, configured)


def test_the_worker_follows(upgraded: Upgraded, configured: Grid) -> None:
    """On its volume it is the same one."""
    hand, known = upgraded.hand, workers(upgraded.hand)
    assert len(known) == 1
    hand.stop("worker")
    start_partner(hand, "worker", configured.image("worker"), upgraded.again[0])
    one_more_job(hand, "today")
    assert workers(hand) == known


@pytest.mark.nightly  # with containers; the programs alone do it in test_skew.py
@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_server_goes_on_with_todays_database_or_says_what_to_do(
    upgraded: Upgraded, configured: Grid, earlier: Callable[..., str], version: str
) -> None:
    """It goes on, with all that came since, if the database has the form that it knows; else it changes nothing."""
    hand, image = upgraded.hand, earlier("server", version)
    hand.inside("client", "xw", "job", "wait", *upgraded.made)
    hand.stop("server")
    if schema(packages(version)["xwhep-server"]) == schema(configured.package("server")):
        start_server(hand, image, *upgraded.again)
        assert upgraded.version() == version
        assert results(hand, *upgraded.made) == KEPT
        one_more_job(hand, version)
        hand.stop("server")
    else:
        said = hand.podman(
            "run", "--rm", "--no-healthcheck", hand.volume("server", HOMES["server"]), image, check=False
        )
        assert "install the server version that wrote it" in said
        assert "Traceback" not in said
    start_server(hand, configured.image("server"), *upgraded.again)
    assert results(hand, *upgraded.made) == KEPT
    one_more_job(hand, "today")


def test_backup_and_restore_into_another_volume(upgraded: Upgraded, configured: Grid) -> None:
    """The commands of docs/howto/backup-and-restore.md."""
    upgraded.typed("backup-and-restore", "(umask")
    upgraded.restored(configured.image("server"), "grid.backup", "server-2")
    assert results(upgraded.hand, *upgraded.made) == KEPT


def test_back_to_the_release_before(upgraded: Upgraded, configured: Grid, earlier: Callable[..., str]) -> None:
    """The backup of then in a new volume, the programs of then; jobs, data, logins and results are those of then."""
    hand, (held, *waiting) = upgraded.hand, upgraded.made
    hand.stop("worker")
    upgraded.restored(earlier("server"), "before.backup", "server-3")
    assert upgraded.version() == PREVIOUS
    start_partner(hand, "worker", earlier("worker"), upgraded.again[0])
    assert set(jobs(hand)) == {upgraded.first, *upgraded.made}
    assert results(hand, upgraded.first) == FIRST
    hand.inside("client", "xw", "job", "cancel", held)
    hand.inside("client", "xw", "job", "wait", *waiting)
    assert results(hand, *waiting) == "hello 2\nhello 3\nkept\n"
    logins_work(hand, configured)
    one_more_job(hand, "then")
    assert len(workers(hand)) == 1
