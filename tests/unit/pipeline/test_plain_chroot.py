"""A build where nothing can be mounted: a chroot in a folder, an ordinary user, nothing left behind."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from one_image import OneImage
from xwhep_packaging import plain_root, powers
from xwhep_packaging.errors import MachineError
from xwhep_packaging.powers import FULL, Powers
from xwhep_packaging.stages.debs import plain
from xwhep_packaging.stages.debs.chroot import Chroot
from xwhep_packaging.stages.debs.plain import PlainChroot

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) is root's")


@pytest.fixture
def chroot(tmp_path: Path) -> PlainChroot:
    """A root of a shell and a few tools, and a work folder beside it, as a draft has them."""
    tmp_path.chmod(0o755)
    made = tmp_path / "made"
    OneImage(folder=tmp_path, log=tmp_path / "log").root("image", made)
    for name in ("passwd", "group"):
        (made / "etc" / name).write_text("root:x:0:0::/:/bin/sh\n")
    tarball = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", str(made), "-cf", str(tarball), "."], check=True)
    draft = tmp_path / "draft"
    (draft / "work").mkdir(parents=True)
    return PlainChroot(tarball=tarball, mountpoint=draft / "root", work=draft / "work", epoch=7)


@root_only
def test_a_build_is_an_ordinary_user_in_its_work_folder(chroot: PlainChroot, tmp_path: Path) -> None:
    script = "id -u; id -g; echo $SOURCE_DATE_EPOCH; echo x > made; : > /etc/mine"
    result = chroot.run(["sh", "-c", script], "/build", tmp_path / "log")
    assert result.stdout.splitlines()[:3] == ["1000", "1000", "7"]
    assert result.returncode != 0, "it may not write where it does not build"
    assert (chroot.work / "made").read_text() == "x\n"
    assert (chroot.work / "made").stat().st_uid == 0


@root_only
def test_a_second_call_finds_no_trace_of_the_first_and_close_leaves_nothing(
    chroot: PlainChroot, tmp_path: Path
) -> None:
    assert chroot.run(["sh", "-c", "echo x > /tmp/x"], "/build", tmp_path / "log").returncode == 0
    assert chroot.run(["cat", "/tmp/x"], "/build", tmp_path / "log").returncode == 1
    chroot.close()
    assert [path.name for path in chroot.mountpoint.parent.iterdir()] == ["work"]


@root_only
def test_what_is_published_stays_where_it_is(chroot: PlainChroot, tmp_path: Path) -> None:
    published = tmp_path / "published"
    published.mkdir()
    (published / "a.deb").write_text("a")
    lint = PlainChroot(tarball=chroot.tarball, mountpoint=chroot.mountpoint, work=published, epoch=7)
    result = lint.run(["sh", "-c", "cat a.deb; echo b > b"], "/build", tmp_path / "log")
    assert (result.stdout, [path.name for path in published.iterdir()]) == ("a", ["a.deb"])


def test_the_strongest_that_the_machine_gives_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powers, "found", lambda: FULL)
    assert plain.kind() is Chroot
    monkeypatch.setattr(powers, "found", lambda: Powers(mounts=True, network=True, users=False, chroot=True))
    assert plain.kind() is PlainChroot


def test_a_machine_without_devices_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*words: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refused)
    with pytest.raises(MachineError, match="neither mounts nor device files") as caught:
        plain_root.furnish(tmp_path)
    assert "MKNOD" in caught.value.next_step
