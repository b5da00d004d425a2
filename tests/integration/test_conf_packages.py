"""The conf packages beside their roles' on a bare trixie root: owners, modes, renewal, purge."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grids import Grid
from roots import bare_root, in_root

COUNT_IMAGES = """
import json, os

def test_three_images_are_there():
    assert len(json.loads(os.environ["XWHEP_TEST_IMAGES"])) == 3
"""
USERS = {"server": "xwhep-server", "worker": "xwhep-worker", "client": "root"}


@pytest.fixture(params=list(USERS))
def installed(request: pytest.FixtureRequest, configured: Grid, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """One role's package and its conf package, installed together on the base."""
    role = request.param
    with bare_root(configured.root(), tmp_path / "root") as root:
        for deb in (configured.package(role), configured.conf_package(role)):
            (root / f"{deb.name.partition('_')[0]}.deb").write_bytes(deb.read_bytes())
        in_root(root, "dpkg", "--install", f"/xwhep-{role}.deb", f"/xwhep-{role}-conf.deb")
        yield root, role


def test_the_roles_user_owns_its_files_and_nobody_else_reads_them(installed: tuple[Path, str]) -> None:
    root, role = installed
    place = root / "etc" / "xwhep" / f"{role}-deployment"
    names = [line.split(":") for line in (root / "etc" / "passwd").read_text().splitlines()]
    number = next(int(fields[2]) for fields in names if fields[0] == USERS[role])
    paths = [place, *place.iterdir()]
    assert {path.stat().st_uid for path in paths} == {number}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
    assert modes == ({0o644} if role == "client" else {0o640})
    assert stat.S_IMODE(place.stat().st_mode) == (0o755 if role == "client" else 0o750)


def test_renewed_package_replaces_without_a_question(installed: tuple[Path, str]) -> None:
    """Settings of the administrator's own live elsewhere, so dpkg has nothing to ask."""
    root, role = installed
    listed = in_root(root, "dpkg-query", "--show", "--showformat=${Conffiles}", f"xwhep-{role}-conf").stdout
    assert listed == ""
    in_root(root, "dpkg", "--install", f"/xwhep-{role}-conf.deb")
    assert (root / "etc" / "xwhep" / f"{role}-deployment" / "ca.pem").is_file()


def test_removed_takes_the_secrets_purged_takes_everything(installed: tuple[Path, str]) -> None:
    root, role = installed
    place = root / "etc" / "xwhep" / f"{role}-deployment"
    if role != "client":
        (place / "left").write_text("beside")
    in_root(root, "dpkg", "--remove", f"xwhep-{role}-conf")
    assert not (place / "ca.pem").exists()
    in_root(root, "dpkg", "--purge", f"xwhep-{role}-conf")
    assert not place.exists()
    assert (root / "etc" / "xwhep" / f"{role}.toml").is_file(), "the role's own settings stay"


def test_conf_package_alone_is_refused(configured: Grid, tmp_path: Path) -> None:
    with bare_root(configured.root(), tmp_path / "root") as root:
        (root / "conf.deb").write_bytes(configured.conf_package("server").read_bytes())
        done = in_root(root, "dpkg", "--install", "/conf.deb", check=False)
    assert done.returncode != 0
    assert "xwhep-server" in done.stderr


def test_bound_images_come_out_the_same_again(configured: Grid) -> None:
    """Private packages and images made anew from the same folder: same bytes, same digests."""
    before = {role: facts["digest"] for role, facts in configured.facts("bound").items()}
    packages = {role: configured.conf_package(role).read_bytes() for role in USERS}
    for stage in ("bound", "conf"):
        subprocess.run(["rm", "-rf", str(configured.clone.store / stage)], check=True)
    configured.clone.doit("bound")
    assert {role: configured.conf_package(role).read_bytes() for role in USERS} == packages
    assert {role: facts["digest"] for role, facts in configured.facts("bound").items()} == before


def test_second_run_makes_nothing(configured: Grid) -> None:
    assert configured.clone.doit("bound") == ""


def test_a_whole_build_ends_with_the_private_parts_too(configured: Grid) -> None:
    """As they are already; with a network test that only counts images, since other builds run the real one."""
    before = {role: facts["digest"] for role, facts in configured.facts("bound").items()}
    configured.clone.replace_network_test(COUNT_IMAGES)
    out = configured.clone.doit("build")
    private = out.partition("\nprivate images of the deployment lab\n")[2].partition("\n\n")[0]
    report = configured.clone.latest()
    assert {row["name"]: row["digest"] for row in report["bound"]} == before
    for role in USERS:
        assert configured.image(role) in private
        assert configured.conf_package(role).name in out
        assert configured.image(role) not in out.replace(private, "")
    assert all(row["private"] and row["deployment"] == "lab" for row in report["bound"])
    assert report["verdict"] == "passed"
