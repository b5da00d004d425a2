"""The fixed samples of tests/golden give the digests that the repository keeps; a change of these is stated there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from clones import REPOSITORY
from golden import GOLDEN, bake_sample, bumps, complaint, golden_context, machine_version, remove_image
from workshop import Built, Workshop, git

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="builds need root")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("golden")
    (folder / "store").mkdir()
    for stage in ("base", "packages"):
        (REPOSITORY / "_build" / stage).mkdir(parents=True, exist_ok=True)
        (folder / "store" / stage).symlink_to(REPOSITORY / "_build" / stage)
    repository = folder / "golden"
    shutil.copytree(GOLDEN / "package", repository)
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=golden")
    workshop = Workshop(folder=folder, store=folder / "store")
    pipeline = workshop.pipeline(repository, {"builder": "debian", "lint": False})
    return Built(pipeline=pipeline, debs=pipeline.make("debs:golden"))


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("golden-image")
    facts = bake_sample(folder / "draft", golden_context(folder / "context"))
    yield facts
    remove_image(facts["digest"])


def chroot_versions(package: Built) -> dict[str, str]:
    """Name -> version of what the package was built with."""
    root = package.pipeline.output(package.pipeline._chroot_of("golden"))
    rows = [row.split("\t") for row in root.path("packages.tsv").read_text().splitlines()]
    return {name: version for name, version, _ in rows}


def test_the_package_is_as_kept(package: Built) -> None:
    """The .dsc and the .deb; the source's export does not even depend on the chroot."""
    files = {name: record.sha256 for name, record in package.debs.manifest.files.items()}
    found = {
        "source": package.pipeline.output("source:golden").manifest.files["source.tar"].sha256,
        "deb": next(sha256 for name, sha256 in files.items() if name.endswith(".deb")),
        "dsc": next(sha256 for name, sha256 in files.items() if name.endswith(".dsc")),
    }
    versions = chroot_versions(package)
    said = complaint(bumps()[-1], found, {name: versions[name] for name in ("debhelper", "dpkg")})
    assert not said, said


def test_the_image_is_as_kept(image: dict[str, Any]) -> None:
    found = {"layers": image["layers"], "config": image["digest"]}
    said = complaint(bumps()[-1], found, {"buildah": machine_version("buildah")})
    assert not said, said


def test_docker_gives_the_same_image(image: dict[str, Any], docker_daemon: str, tmp_path: Path) -> None:
    """From nothing: the sample has no base."""
    context = golden_context(tmp_path / "context")
    found = bake_sample(tmp_path / "draft", context, isolation="docker", docker=docker_daemon)
    assert (found["layers"], found["digest"]) == (image["layers"], image["digest"])


# The record


def test_every_bump_has_its_number_and_a_reason_and_changes_something() -> None:
    known = bumps()
    assert [bump.number for bump in known] == [*range(1, len(known) + 1)]
    assert all(bump.why for bump in known)
    assert all(after.digests != before.digests for before, after in pairwise(known))


def test_equal_digests_with_other_tools_are_no_complaint() -> None:
    last = bumps()[-1]
    assert complaint(last, dict(last.digests), {"buildah": "other"}) == ""


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        pytest.param({}, "code that decides bytes has changed", id="code"),
        pytest.param({"buildah": "9.9"}, "made with buildah 9.9 instead of", id="tool"),
    ],
)
def test_other_digests_say_which_bump_is_wanted(tools: dict[str, str], words: str) -> None:
    last = replace(bumps()[-1], number=4)
    said = complaint(last, {"config": "sha256:0"}, {**last.tools, **tools})
    assert words in said
    assert "append a [[bump]] to tests/golden/digests.toml" in said
    assert "(bump 5)" in said
    assert "config = 'sha256:0'" in said
