"""A machine without namespaces, mounts or daemon: its build ends with a verdict that says so, and goes no further."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clones import REPOSITORY, Clone
from lesser import Lesser, lesser_machine

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="docker needs root")
WEAK_SOURCE = "nbody"  # its packages are built there; all others are the strong ones of the same commit
STRONG = ("packages", "base", "source", "debs", "lint")


@dataclass(frozen=True, kw_only=True)
class There:
    """What was built there, and the same commit's build at full strength."""

    machine: Lesser
    clone: Clone
    strong: dict[str, Any]
    out: str

    @property
    def weak(self) -> dict[str, Any]:
        return self.clone.latest()

    def manifest(self, step: str) -> dict[str, Any]:
        stage = step.partition(":")[0]
        text = (self.clone.store / stage / self.weak["keys"][step] / "manifest.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found


@pytest.fixture(scope="module")
def there(built: Clone, docker_daemon: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[There]:
    """The clone `built` once more; what another machine made at full strength serves this one, but for one source."""
    clone = Clone(folder=tmp_path_factory.mktemp("less") / "clone")
    subprocess.run(["git", "clone", "--quiet", str(built.folder), str(clone.folder)], check=True)
    for kept in STRONG:
        shutil.copytree(built.store / kept, clone.store / kept)
    for path in [*(clone.store / "debs").glob("*/manifest.json"), *(clone.store / "lint").glob("*/manifest.json")]:
        if json.loads(path.read_text())["name"] == WEAK_SOURCE:
            shutil.rmtree(path.parent)
    (clone.folder / ".venv").symlink_to((REPOSITORY / ".venv").resolve())
    with lesser_machine(docker_daemon, clone) as machine:
        out = machine.doit("build")
        yield There(machine=machine, clone=clone, strong=built.latest(), out=out)


def test_the_build_ends_with_a_verdict_that_says_what_was_weaker(there: There) -> None:
    assert (there.weak["verdict"], there.weak["engine"]) == ("passed", "process")
    said = there.weak["weaker"]
    for words in ("packages were built in a plain chroot", "lintian ran in a plain chroot", "images were baked"):
        assert [sentence for sentence in said if sentence.startswith(words)], said
    assert "the network test gave xwhep-worker XWHEP_WORKER_ISOLATION=process" in said
    printed = there.out.partition("WEAKER: ")[2]
    assert all(f"\n  {sentence}\n" in printed for sentence in said)


def test_what_could_not_be_tested_is_named(there: There) -> None:
    left_out = [sentence for sentence in there.weak["weaker"] if sentence.startswith("not tested: ")]
    assert "not tested: test_main_job::test_first_process_reaps[server], which needs proc of its own" in left_out
    assert not [sentence for sentence in left_out if "test_job_goes_through" in sentence]


def test_packages_and_layers_are_those_of_a_build_at_full_strength(there: There) -> None:
    """So only what was around them was weaker, not what came of it."""
    digests = [{row["package"]: row["sha256"] for row in build["debs"]} for build in (there.weak, there.strong)]
    assert digests[0] == digests[1]
    layers = [{row["name"]: row["layers"] for row in build["images"]} for build in (there.weak, there.strong)]
    assert layers[0] == layers[1]


def test_no_weak_output_has_the_key_of_a_strong_one(there: There) -> None:
    weak, strong = there.weak["keys"], there.strong["keys"]
    made_there = {name for name in weak if weak[name] != strong[name]}
    assert {f"debs:{WEAK_SOURCE}", "base:image", "images:server", "images:worker", "network_test"} <= made_there
    assert "base:rootfs" not in made_there
    assert there.manifest(f"debs:{WEAK_SOURCE}")["facts"]["weaker"]
    assert "weaker" not in there.manifest("base:rootfs")["facts"]


def test_an_image_says_it_itself(there: There) -> None:
    folder = there.clone.store / "images" / there.weak["keys"]["images:worker"]
    label = json.loads((folder / "config.json").read_text())["config"]["Labels"]["org.xwhep.weaker"]
    assert label.split("; ") == there.manifest("images:worker")["facts"]["weaker"]
    assert "packages were built in a plain chroot" in label


@pytest.mark.parametrize("task", ["release", "verify"])
def test_it_goes_no_further(there: There, task: str) -> None:
    out = there.machine.doit(task, code=28)
    assert "error [weak]: this build was made on a machine that gives less: it cannot be " in out
    assert "  next:  build it on a machine at full strength" in out


def test_doctor_says_what_the_machine_gives(there: There) -> None:
    rows = [row.split(maxsplit=2) for row in there.machine.doit("doctor").splitlines() if not row.startswith(" ")]
    said = {row[1]: (row[0], row[2]) for row in rows if len(row) == 3}
    for subject, words in (("mounts", "none of one's own"), ("network", "no namespace"), ("engine", "no container")):
        assert said[subject][0] == "!"
        assert said[subject][1].startswith(words)


def test_a_second_build_makes_nothing(there: There) -> None:
    assert "made now" not in there.machine.doit("build")


def test_nothing_is_left_behind(there: There) -> None:
    """No process and no root file system; what docker shows of the dead is not ours to reap."""
    running = there.machine.run("ps", "-eo", "stat=,args=")
    assert [row for row in running.splitlines() if "tini" in row and not row.startswith("Z")] == []
    assert there.machine.run("sh", "-c", "ls -d /tmp/xwhep-* || true").count("/tmp/xwhep-process") == 0
    assert not list(Path(there.clone.store / "tmp").glob("debs-*"))
