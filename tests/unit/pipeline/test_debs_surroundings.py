"""What a build may see of its machine comes from [surroundings], and from nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from xwhep_packaging import errors
from xwhep_packaging.definitions import Surroundings
from xwhep_packaging.stages.debs import chroot
from xwhep_packaging.stages.debs.chroot import Chroot


def words(surroundings: Surroundings) -> list[str]:
    here = Path("/x")
    made = Chroot(tarball=here, mountpoint=here, work=here, epoch=5, surroundings=surroundings)
    return made.command(["make"], "/build")


def variables(argv: list[str]) -> dict[str, str]:
    return {argv[n + 1]: argv[n + 2] for n, word in enumerate(argv) if word == "--setenv"}


def test_an_ordinary_user_is_root_in_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "--map-root-user" not in words(Surroundings())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    argv = words(Surroundings())
    assert argv[:4] == ["unshare", "--user", "--map-root-user", "--map-auto"]


def test_usual_surroundings() -> None:
    found = variables(words(Surroundings()))
    assert (found["TZ"], found["LC_ALL"], found["USER"]) == ("UTC", "C.UTF-8", "build")
    assert found["DEB_BUILD_OPTIONS"] == "parallel=2 nocheck"
    assert not {"LD_PRELOAD", "FAKETIME"} & found.keys()


def test_other_surroundings_reach_the_build() -> None:
    other = Surroundings(
        host="elsewhere", timezone="Etc/GMT-14", locale="C", user="other", umask="0002", parallel=1, image_prefix="v-"
    )
    argv = words(other)
    found = variables(argv)
    assert (found["TZ"], found["LC_ALL"], found["USER"], found["LOGNAME"]) == ("Etc/GMT-14", "C", "other", "other")
    assert found["DEB_BUILD_OPTIONS"].startswith("parallel=1")
    assert argv[argv.index("--hostname") + 1] == "elsewhere"
    assert any(re.match(r"umask 0002 ", word) for word in argv)


def test_another_date_is_the_library_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chroot, "clock_library", lambda: Path("/lib/faketime.so"))
    argv = words(Surroundings(clock_days=400))
    assert argv[argv.index("/lib/faketime.so") - 1] == "--ro-bind"
    assert (variables(argv)["LD_PRELOAD"], variables(argv)["FAKETIME"]) == (chroot.CLOCK, "+400d")


def test_without_the_library_there_is_no_other_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chroot, "CLOCK_LIBRARIES", "no-such/folder")
    with pytest.raises(errors.MissingTool, match="faketime"):
        words(Surroundings(clock_days=1))


def test_the_network_is_off_and_watched() -> None:
    argv = words(Surroundings())
    assert "--net" in argv[: argv.index("--")]
    assert argv.index(str(chroot.NO_NETWORK)) < argv.index("bwrap")
