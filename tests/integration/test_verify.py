"""A real rebuild: a fresh clone under several variations at once gives the same bits; a planted leak does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clones import Clone
from xwhep_packaging.engines import stored_names
from xwhep_packaging.verify import rebuild

WHOLE_LIMIT_S = 3600
ZONE = "usr/share/xwhep-client/zone"
LEAK = f'override_dh_installdocs:\n\tdh_installdocs\n\techo "zone=$$TZ" > debian/xwhep-client/{ZONE}\n'


@pytest.fixture
def images() -> Iterator[Callable[[int], str]]:
    """Makes an image as the rebuild of some process names it; all are gone afterwards."""
    made: list[str] = []

    def make(pid: int) -> str:
        container = called("buildah", "from", "scratch")
        made.append(f"localhost/verify-{pid}-0123abcd-probe:1")
        try:
            called("buildah", "commit", "--quiet", container, made[-1])
        finally:
            called("buildah", "rm", container)
        return made[-1]

    yield make
    for name in made:
        subprocess.run(["buildah", "rmi", name], capture_output=True, check=False)


def names_of_rebuilds() -> set[str]:
    return {name for names in stored_names().values() for name in names if name.startswith("localhost/verify-")}


def called(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_what_a_killed_verify_left_goes_and_what_a_living_one_made_stays(
    images: Callable[[int], str], tmp_path: Path
) -> None:
    dead, alive = images(dead_pid()), images(os.getpid())
    rebuild.forget_leftovers(tmp_path / "log")
    there = called("buildah", "images", "--noheading", "--format", "{{.Name}}:{{.Tag}}").split()
    assert dead not in there
    assert alive in there


def record(clone: Clone, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((clone.store / "verify" / f"{name}.json").read_text())
    return loaded


@pytest.mark.nightly
@pytest.mark.parametrize("variation", ["timezone", "unprivileged", "python"])
def test_one_variation_alone_gives_the_same_bits(built: Clone, variation: str) -> None:
    said = built.doit(f"verify:{variation}")
    assert "identical" in said
    latest = record(built, "latest")
    assert latest["identical"] is True
    assert latest["compared"] > 50
    assert latest["differences"] == []


@pytest.mark.nightly
def test_all_pairs_of_variations_give_the_same_bits(built: Clone) -> None:
    process = built.start("verify")
    said, _ = process.communicate(timeout=WHOLE_LIMIT_S)
    assert process.returncode == 0, said
    assert record(built, "latest")["identical"] is True


@pytest.mark.nightly
def test_what_an_ordinary_user_s_images_have_is_looked_at(built: Clone) -> None:
    """They are in a storage of that user's own, which is gone afterwards."""
    before, stored = built.git("rev-parse", "HEAD"), names_of_rebuilds()
    try:
        built.change("debian/rules", f"\n{LEAK.replace('$$TZ', '$$(cat /proc/sys/kernel/random/uuid)')}")
        built.doit("verify:unprivileged", code=24)
        found = [f for f in record(built, "unprivileged")["differences"] if f["member"].endswith(ZONE)]
        assert {f["cause"] for f in found} == {"random id"}
        assert any(f["file"].startswith("images:client layer") for f in found)
    finally:
        built.git("reset", "--quiet", "--hard", before)
    assert names_of_rebuilds() <= stored


@pytest.mark.nightly
def test_the_commit_that_brought_a_leak_is_found(built: Clone) -> None:
    before = built.git("rev-parse", "HEAD")
    try:
        built.change("src/xwhep/client/main.py", "# before\n")
        built.change("debian/rules", f"\n{LEAK}")
        wanted = built.git("rev-parse", "HEAD")
        built.change("docs/note.md", "A note.\n")
        built.change("src/xwhep/client/main.py", "# after\n")
        process = built.start("verify:bisect", "variation=timezone", f"good={before}")
        said, _ = process.communicate(timeout=WHOLE_LIMIT_S)
        assert process.returncode == 0, said
        assert record(built, "bisect")["commit"] == wanted
        assert wanted in said
    finally:
        built.git("reset", "--quiet", "--hard", before)


def test_a_leak_is_found_and_named(built: Clone) -> None:
    """A package that writes its time zone down: found by a rebuild in it and in the image, and nothing else is."""
    before = built.git("rev-parse", "HEAD")
    try:
        built.change("debian/rules", f"\n{LEAK}")
        said = built.doit("verify:timezone", code=24)
        assert "error [verify]: 1 of 1 rebuilds give other bytes" in said
        found = record(built, "timezone")["differences"]
        leak = [f for f in found if f["member"].endswith(ZONE)]
        assert leak
        assert {(f["first"], f["second"], f["cause"]) for f in leak} == {("UTC", "Etc/GMT-14", "time zone")}
        assert any(f["file"].startswith("images:client layer") for f in leak)
        assert {f["cause"] for f in found} == {"time zone", "sum of another file"}
        assert ZONE in said
    finally:
        built.git("reset", "--quiet", "--hard", before)
