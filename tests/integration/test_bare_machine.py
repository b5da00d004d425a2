"""A bare Debian as CI runners give one, unprivileged: `scripts/doit build` installs all it needs, makes everything from
nothing, and ends with a verdict that says what was weaker.

docs/howto/machines-that-give-less.md tells of it. test_less.py is its short form, on a machine that has the tools.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bare import bare_machine, debian_image
from clones import REPOSITORY, Clone
from lesser import Lesser

pytestmark = [pytest.mark.nightly, pytest.mark.skipif(os.geteuid() != 0, reason="docker needs root")]
TOOLS = ("git", "python3", "dpkg-buildpackage", "mmdebstrap", "buildah", "podman", "bwrap")
# docker's own: chown, mknod, setuid, chroot and ten more; no administration of the system or of the network.
CAPABILITIES = "00000000a80425fb"


@dataclass(frozen=True, kw_only=True)
class Bare:
    """The machine after its first build, of which `out` was printed; `had` are the tools that were there before."""

    machine: Lesser
    had: list[str]
    out: str

    def latest(self) -> Any:
        return json.loads(self.machine.run("cat", f"{self.machine.folder}/_build/latest.json"))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    folder = tmp_path_factory.mktemp("bare")
    served = folder / "served.git"
    subprocess.run(["git", "clone", "--quiet", "--bare", str(REPOSITORY), str(served)], check=True)
    with bare_machine(debian_image(folder), served) as machine:
        look = f"for name in {' '.join(TOOLS)}; do ! command -v $name >/dev/null || echo $name; done"
        had = machine.run("sh", "-c", look).split()
        yield Bare(machine=machine, had=had, out=machine.doit("build"))


def test_it_had_git_and_was_given_what_docker_gives_by_default(bare: Bare) -> None:
    assert bare.had == ["git"]
    status = dict(
        line.split(":\t") for line in bare.machine.run("cat", "/proc/self/status").splitlines() if ":\t" in line
    )
    assert (status["CapEff"], status["Seccomp"]) == (CAPABILITIES, "2")


def test_it_installs_what_it_lacks_and_makes_every_step(bare: Bare) -> None:
    assert re.search(r"^installing system packages: .*\bmmdebstrap\b.*\bpython3-venv\b", bare.out, re.M)
    assert "making .venv from hashed pins" in bare.out
    assert re.search(r"^made +\d+ steps in .*, 0 were up to date", bare.out, re.M)


def test_the_build_ends_with_a_verdict_that_says_what_was_weaker(bare: Bare) -> None:
    latest = bare.latest()
    assert (latest["verdict"], latest["engine"]) == ("passed", "process")
    for words in ("packages were built in a plain chroot", "lintian ran in a plain chroot", "images were baked"):
        assert [sentence for sentence in latest["weaker"] if sentence.startswith(words)], latest["weaker"]
    printed = bare.out.partition("WEAKER: ")[2]
    assert all(f"\n  {sentence}\n" in printed for sentence in latest["weaker"])


def test_packages_and_layers_are_those_of_this_machine(bare: Bare, built: Clone) -> None:
    """Another Debian, another Python, another engine, no wall: the same bytes."""
    both = bare.latest(), built.latest()
    digests = [{row["package"]: row["sha256"] for row in latest["debs"]} for latest in both]
    assert digests[0] == digests[1]
    layers = [{row["name"]: row["layers"] for row in latest["images"]} for latest in both]
    assert layers[0] == layers[1]


@pytest.mark.parametrize("task", ["release", "verify"])
def test_it_goes_no_further(bare: Bare, task: str) -> None:
    out = bare.machine.doit(task, code=28)
    assert "error [weak]: this build was made on a machine that gives less: it cannot be " in out


def test_a_second_build_makes_nothing(bare: Bare) -> None:
    assert "made now" not in bare.machine.doit("build")


def test_nothing_is_left_behind(bare: Bare) -> None:
    """No process of the product, and no folder; what docker shows of the dead has no command line."""
    lines = bare.machine.run("sh", "-c", "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file; echo; done")
    assert "sleep infinity" in lines
    assert not [line for line in lines.splitlines() if "/usr/bin/xwhep-" in line or line.startswith("/usr/bin/tini")]
    places = f"/tmp /dev/shm {bare.machine.folder}/_build/tmp"
    assert bare.machine.run("sh", "-c", f"find {places} -mindepth 1").split() == []
