"""The packages from an apt source on a bare Debian machine with systemd: installed, working, upgraded, purged.

docs/howto/plain-debian.md, whose commands make the source and install from it, and what docs/howto/upgrade.md says of
packages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import howto
from clones import REPOSITORY
from grids import Grid
from howto import block
from machines import Machine, booted, make_root, why_not
from releases import PREVIOUS, packages
from workshop import LOCK
from xwhep.common.join import parse_join_line
from xwhep_packaging import lockfile, settings
from xwhep_packaging.debcache import DebCache

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root file systems need root")
ROLES = ("server", "worker", "client")
NAMES = [name for role in ROLES for name in (f"xwhep-{role}", f"xwhep-{role}-conf")]
SOON_S = 30.0
PROGRAM = '#!/bin/sh\nsleep "$2"\necho "hello $1"\n'
AS_SERVER = ("runuser", "--user", "xwhep-server", "--", "xwhep-server")
SOURCE = "etc/apt/sources.list.d/xwhep.sources"
PAGE = "plain-debian"
INSTALLS = re.compile(r"`(apt install [^`]+)`")
APT = 'apt() { apt-get --yes --no-install-recommends "$@"; }'  # nobody answers, and there is no more than we put there
LONG_S = "4"  # a job that an upgrade finds running


class Source:
    """An apt source in a folder of the machine: our packages, and those of the lock that they depend on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        known = lockfile.read(LOCK)
        assert known is not None
        cache = DebCache(settings.load(REPOSITORY / "packaging" / "pipeline.toml").cache_folder)
        for deb in known.sets["rootfs"].debs:
            shutil.copyfile(cache.path(deb.sha256), folder / Path(deb.path).name)

    def put(self, deb: Path) -> None:
        shutil.copyfile(deb, self.folder / deb.name)

    def publish(self, machine: Machine) -> None:
        """As the page says, from where it was built to what the machine is told. Debian's own source is far away."""
        *_, index = block(PAGE, "cd /srv/xwhep", {"/srv/xwhep": str(self.folder)}).splitlines()
        subprocess.run(["sh", "-euc", index], check=True, capture_output=True)
        (machine.root / "etc" / "apt" / "sources.list").write_text("")
        machine.run("sh", "-euc", block(PAGE, "apt update"))


@pytest.fixture(scope="module")
def source(configured: Grid, tmp_path_factory: pytest.TempPathFactory) -> Source:
    if reason := why_not():
        pytest.skip(f"this machine cannot boot another one in namespaces: {reason}")
    root = tmp_path_factory.mktemp("machine") / "root"
    make_root(root)
    return Source(root / "srv" / "xwhep")


@pytest.fixture(scope="module")
def machine(configured: Grid, source: Source) -> Iterator[Machine]:
    """All six packages are installed, each role's own from the release before, and a program is registered."""
    root = source.folder.parents[1]
    with booted(root) as machine:
        for role in ROLES:
            source.put(packages(PREVIOUS)[f"xwhep-{role}"])
            source.put(configured.conf_package(role))
        source.publish(machine)
        for line in INSTALLS.findall((howto.PAGES / f"{PAGE}.md").read_text(encoding="utf-8")):
            machine.run("sh", "-euc", f"{APT}; {line}")
        machine.run("sh", text=machine.run(*AS_SERVER, "join-line", "client").stdout)
        (machine.root / "root" / "hello.sh").write_text(PROGRAM)
        machine.run("xw", "app", "register", "hello", "hello.sh")
    with booted(root) as machine:  # the power failed: what is installed starts by itself
        yield machine


def as_server(machine: Machine, *words: str) -> str:
    return machine.run(*AS_SERVER, *words).stdout


def states(machine: Machine) -> list[str]:
    jobs = json.loads(machine.run("xw", "job", "list", "--format", "json").stdout)
    return sorted(job["state"] for job in jobs)


def versions(machine: Machine) -> set[str]:
    shown = machine.run("dpkg-query", "--show", "--showformat=${Version}\\n", *(f"xwhep-{role}" for role in ROLES))
    return set(shown.stdout.split())


@pytest.mark.parametrize(("role", "most"), [("server", 1.5), ("worker", 3.0)])
def test_unit_runs_hardened_as_its_own_user(machine: Machine, role: str, most: float) -> None:
    unit = f"xwhep-{role}.service"
    assert machine.run("systemctl", "is-active", unit).stdout == "active\n"
    assert machine.run("systemctl", "is-enabled", unit).stdout == "enabled\n"
    number = machine.run("systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()
    status = machine.run("cat", f"/proc/{number}/status").stdout
    user = machine.run("id", "--user", f"xwhep-{role}").stdout.strip()
    assert f"\nUid:\t{user}\t{user}\t{user}\t{user}\n" in status
    assert "\nSeccomp:\t2\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    analyze = ("systemd-analyze", "security", "--no-pager")
    for words in ((unit,), ("--offline=true", f"/usr/lib/systemd/system/{unit}")):
        said = machine.run(*analyze, *words, check=False).stdout.splitlines()[-1]
        exposed = float(said.rpartition(": ")[2].split()[0])
        assert exposed <= most
        assert f"{exposed} for the {role}" in (howto.PAGES / f"{PAGE}.md").read_text(encoding="utf-8")


def test_join_line_is_the_deployments(machine: Machine, configured: Grid) -> None:
    line = parse_join_line(as_server(machine, "join-line", "worker"))
    assert line.token == configured.deployment.joins[0].token
    assert line.address == "https://grid.invalid:4321"


def test_a_server_that_restarted_is_met_at_once(machine: Machine) -> None:
    """systemd says "started" when the server answers; three times, since one may be luck."""
    again = "systemctl restart xwhep-server && xw app list"
    assert machine.run("sh", "-euc", f"{again} && {again} && {again}").stdout.count("hello") == 3


@pytest.mark.parametrize("role", ["server", "worker"])
def test_what_is_killed_comes_back(machine: Machine, role: str) -> None:
    unit = f"xwhep-{role}"
    machine.run("systemctl", "kill", "--signal=KILL", unit)
    deadline = time.monotonic() + SOON_S
    while restarts(machine, unit) == 0 or machine.run("systemctl", "is-active", unit, check=False).stdout != "active\n":
        assert time.monotonic() < deadline, machine.journal()
        time.sleep(0.1)


def restarts(machine: Machine, unit: str) -> int:
    return int(machine.run("systemctl", "show", "--property=NRestarts", "--value", unit).stdout)


def test_a_job_passes_through_server_and_worker(machine: Machine) -> None:
    done = machine.run("timeout", "60", "xw", "job", "submit", "hello", "--wait", "--", "world", "0")
    assert "hello world" in done.stdout


def take_release(machine: Machine, release: Path) -> None:
    """As docs/howto/release.md says, but from a folder: the machine has no network. apt knows the key by the stanza."""
    place = machine.root / "srv" / "stable"
    shutil.copytree(release / "apt", place / "apt")
    stanza = (release / "xwhep-stable.sources").read_text().replace("URIs: URL/", "URIs: file:/srv/")
    assert "\nSigned-By:\n" in stanza
    (machine.root / SOURCE).write_text(stanza)


def test_a_release_that_was_changed_is_refused(machine: Machine, release: Path) -> None:
    take_release(machine, release)
    indexes = [machine.root / "srv/stable/apt/dists/stable" / name for name in ("InRelease", "Release")]
    for index in indexes:
        index.write_text(index.read_text().replace("\nLabel: ", "\nLabel: another "))
    refused = machine.run("apt-get", "update", "--error-on=any", check=False)
    assert refused.returncode != 0
    assert "is not signed" in refused.stderr
    shutil.rmtree(machine.root / "srv" / "stable")


def test_upgrade_keeps_jobs_data_and_logins(machine: Machine, configured: Grid, release: Path) -> None:
    """To a release, under two jobs that run and two that wait. The login is that of before: nobody types a password."""
    assert versions(machine) == {PREVIOUS}
    words = ("xw", "job", "submit", "hello", "--cpus", "1", "--", "again", LONG_S)
    jobs = [machine.run(*words).stdout.split()[-1] for _ in range(4)]
    deadline = time.monotonic() + SOON_S
    while "running" not in states(machine):
        assert time.monotonic() < deadline, states(machine)
        time.sleep(0.1)
    machine.run("xwhep-server", "backup", "/var/backups/before.backup")
    assert {"running", "pending"} <= set(states(machine))
    take_release(machine, release)
    machine.run("apt-get", "update", "--error-on=any")
    machine.run("sh", "-euc", "apt-get upgrade --yes && xw job list")
    assert versions(machine) == {configured.facts("images")["server"]["version"]}
    machine.run("timeout", "60", "xw", "job", "wait", *jobs)
    for number, job in enumerate(jobs):
        machine.run("xw", "job", "results", job, "-o", f"results-{number}")
        assert (machine.root / "root" / f"results-{number}" / "stdout").read_text() == "hello again\n"


def test_back_to_the_release_before(machine: Machine) -> None:
    """As docs/howto/upgrade.md says, with the backup that was taken before."""
    older = [f"xwhep-{role}={PREVIOUS}" for role in ROLES]
    machine.run("systemctl", "stop", "xwhep-server")
    machine.run("apt-get", "install", "--yes", "--allow-downgrades", *older)
    machine.run("systemctl", "stop", "xwhep-server")
    machine.run("xwhep-server", "restore", "--force", "/var/backups/before.backup")
    machine.run("systemctl", "start", "xwhep-server")
    assert versions(machine) == {PREVIOUS}
    done = machine.run("timeout", "60", "xw", "job", "submit", "hello", "--wait", "--", "from before", "0")
    assert "hello from before" in done.stdout  # with login, program and worker of then


def test_purged_without_a_trace(machine: Machine) -> None:
    for path in (SOURCE, SOURCE.replace(".sources", ".list")):  # the administrator's own
        (machine.root / path).unlink()
    machine.run("apt-get", "purge", "--yes", *NAMES)
    assert "xwhep" not in machine.run("systemctl", "list-units", "--all", "--full", "xwhep*", "--no-legend").stdout
    for folder in ("etc", "usr/bin", "usr/lib/systemd", "usr/share", "var/lib"):
        found = [path for path in (machine.root / folder).rglob("*xwhep*") if "__pycache__" not in path.parts]
        assert [path for path in found if "apt/lists" not in str(path)] == []
