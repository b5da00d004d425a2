"""Nothing public holds a secret of the deployment: packages, images, logs, store, command lines. And the scan fires."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from grids import Grid
from xwhep_packaging.secret_scan import Finding, Scan, public_findings, secrets_of
from xwhep_packaging.store import Store


def findings(grid: Grid, *more_images: str) -> list[Finding]:
    images = [facts["digest"] for facts in grid.facts("images").values()]
    return public_findings(Store(grid.clone.store), grid.deployment, [*images, *more_images])


def token(grid: Grid) -> str:
    return grid.deployment.joins[0].token


def test_command_lines_hold_none(configured: Grid) -> None:
    assert b"dpkg-deb" in configured.command_lines
    assert b"buildah" in configured.command_lines
    scan = Scan(secrets_of(configured.deployment))
    assert list(scan.content("command lines", configured.command_lines)) == []


def test_private_outputs_hold_what_they_should_and_no_more(configured: Grid) -> None:
    scan, join = Scan(secrets_of(configured.deployment)), f"join token {configured.deployment.joins[0].id}"
    wanted = {"server": {"the server's key", "the password's hash", join}, "worker": {join}, "client": set()}
    for role, expected in wanted.items():
        package = {finding.secret for finding in scan.file(configured.conf_package(role))}
        image = {finding.secret for finding in scan.image(configured.facts("bound")[role]["digest"], set())}
        assert (package, image) == (expected, expected), role


def test_private_outputs_are_their_owners_alone(configured: Grid) -> None:
    for folder in [*(configured.clone.store / "conf").iterdir(), *(configured.clone.store / "bound").iterdir()]:
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_bound_images_say_that_they_are_private(configured: Grid) -> None:
    for role in ("server", "worker", "client"):
        inspected = subprocess.run(
            ["buildah", "inspect", "--type=image", configured.image(role)], check=True, capture_output=True, text=True
        )
        labels = json.loads(json.loads(inspected.stdout)["Config"])["config"]["Labels"]
        assert labels["org.xwhep.private"] == "true"
        assert labels["org.xwhep.deployment"] == "lab"
    public = [tag for facts in configured.facts("images").values() for tag in facts["tags"]]
    assert not [tag for tag in public if "img_" in tag], "the dated names are the bound images'"


# So that the tests above can fail: a secret planted in each place is found there


@contextmanager
def planted_package(grid: Grid) -> Iterator[tuple[str, list[str]]]:
    """A public .deb that somebody built from a tree with a token in it."""
    folder = grid.package("client").parent
    tree, deb = folder / "tree", folder / "planted_1_all.deb"
    (tree / "DEBIAN").mkdir(parents=True)
    control = "Package: planted\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.invalid>\nDescription: x\n"
    (tree / "DEBIAN" / "control").write_text(control)
    (tree / "usr").mkdir()
    (tree / "usr" / "file").write_text(token(grid))
    subprocess.run(["dpkg-deb", "-Zxz", "--build", str(tree), str(deb)], check=True, capture_output=True)
    shutil.rmtree(tree)
    try:
        yield "planted_1_all.deb!", []
    finally:
        deb.unlink()


@contextmanager
def planted_log(grid: Grid) -> Iterator[tuple[str, list[str]]]:
    log = grid.clone.store / "logs" / "planted.log"
    log.write_text(f"$ tool --token {token(grid)}\n")
    try:
        yield "planted.log", []
    finally:
        log.unlink()


@contextmanager
def planted_store(grid: Grid) -> Iterator[tuple[str, list[str]]]:
    """The server's key among other files of _build, as PEM."""
    file = grid.clone.store / "latest.json"
    file.write_text(json.dumps({"note": grid.deployment.server_pem.decode()}))
    try:
        yield "latest.json", []
    finally:
        file.unlink()


def baked(containerfile: str, context: Path, *options: str) -> str:
    (context / "Containerfile").write_text(containerfile)
    argv = ["buildah", "build", "--isolation=chroot", "--layers=false", "--format=docker", "--pull=never", "--quiet"]
    made = subprocess.run([*argv, *options, str(context)], check=True, capture_output=True, text=True)
    return made.stdout.strip().splitlines()[-1]


@contextmanager
def planted_image(grid: Grid, name: str, *steps: str) -> Iterator[tuple[str, list[str]]]:
    """An image on the client's, one layer a step. buildah counts layers by a history, which has to be whole or none."""
    options = ["--omit-history"] if len(steps) > 1 else []
    context = grid.clone.folder.parent / f"planted-{name}"
    context.mkdir()
    (context / "file").write_text(token(grid))
    made = [grid.facts("images")["client"]["digest"].removeprefix("sha256:")]
    try:
        for step in steps:
            made.append(baked(f"FROM {made[-1]}\nUSER 0\n{step}\n", context, *options))
        yield f"image {made[-1][:19]}", made[-1:]
    finally:
        shutil.rmtree(context)
        subprocess.run(["buildah", "rmi", "--force", *reversed(made[1:])], check=True, capture_output=True)


PLACES: dict[str, Callable[[Grid], AbstractContextManager[tuple[str, list[str]]]]] = {
    "package": planted_package,
    "log": planted_log,
    "store": planted_store,
    "image layer": lambda grid: planted_image(grid, "layer", "COPY file /usr/share/file"),
    "removed in a later layer": lambda grid: planted_image(grid, "removed", "COPY file /srv/file", "RUN rm /srv/file"),
    "image configuration": lambda grid: planted_image(grid, "configuration", f"ENV TOKEN={token(grid)}"),
    "image history": lambda grid: planted_image(grid, "history", f"RUN : {token(grid)}"),
}


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """`where`: what the name of each planted place has in it."""

    where: dict[str, str]
    found: list[Finding]


@pytest.fixture(scope="module")
def scanned(configured: Grid) -> Scanned:
    """One scan of everything, with all of them planted: it takes half a minute."""
    with ExitStack() as planted:
        places = {name: planted.enter_context(plant(configured)) for name, plant in PLACES.items()}
        found = findings(configured, *(image for _, images in places.values() for image in images))
    return Scanned(where={name: where for name, (where, _) in places.items()}, found=found)


def test_nothing_public_holds_a_secret_but_what_was_planted(configured: Grid, scanned: Scanned) -> None:
    assert len(configured.facts("images")) == 3
    assert list(configured.clone.store.glob("debs/*/xwhep-*.deb"))
    assert list(configured.clone.store.glob("logs/*.log"))
    planted = scanned.where.values()
    assert [finding for finding in scanned.found if not any(where in finding.place for where in planted)] == []


def test_planted_secrets_are_each_found_where_they_are(configured: Grid, scanned: Scanned) -> None:
    assert [
        name for name, where in scanned.where.items() if not any(where in finding.place for finding in scanned.found)
    ] == []
    join = f"join token {configured.deployment.joins[0].id}"
    assert {finding.secret for finding in scanned.found} == {join, "the server's key"}
