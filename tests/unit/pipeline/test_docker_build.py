"""A Containerfile's steps by docker: the call, the client, and layers put over a folder."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from xwhep_packaging import command, docker_build
from xwhep_packaging.docker_build import DockerBuild, apply_layer, find_client
from xwhep_packaging.errors import MissingTool


def layer(folder: Path, *names: str) -> Path:
    """A tar of folders (names that end in /), whiteouts and files that hold their name."""
    path = folder / "layer.tar"
    with tarfile.open(path, "w") as made:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.uid, member.gid = os.getuid(), os.getgid()
            member.type, member.mode = (tarfile.DIRTYPE, 0o755) if name.endswith("/") else (tarfile.REGTYPE, 0o640)
            member.size = 0 if name.endswith("/") else len(name)
            made.addfile(member, io.BytesIO(name.encode()))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name in ("etc/old", "opt/deep/file", "srv/kept", "was-file"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("below")
    return folder


def holds(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("names", "gone", "new"),
    [
        pytest.param(("etc/", "etc/new"), set(), {"etc/new"}, id="a file more"),
        pytest.param(("etc/", "etc/.wh.old"), {"etc/old"}, set(), id="a file less"),
        pytest.param((".wh.opt",), {"opt/deep/file"}, set(), id="a folder less"),
        pytest.param(("opt/", "opt/.wh..wh..opq", "opt/a"), {"opt/deep/file"}, {"opt/a"}, id="a folder made anew"),
        pytest.param(
            ("was-file/", "was-file/.wh..wh..opq", "was-file/a"), {"was-file"}, {"was-file/a"}, id="a folder for a file"
        ),
        pytest.param((".wh.never",), set(), set(), id="what was never there"),
    ],
)
def test_a_layer_over_a_folder(
    root: Path, tmp_path: Path, names: tuple[str, ...], gone: set[str], new: set[str]
) -> None:
    before = holds(root)
    apply_layer(layer(tmp_path, *names), root, tmp_path / "log")
    assert holds(root) == (before - gone) | new
    assert (root / "srv" / "kept").read_text() == "below"


def test_modes_are_the_layers(root: Path, tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        apply_layer(layer(tmp_path, "etc/", "etc/new"), root, tmp_path / "log")
    finally:
        os.umask(previous)
    assert (root / "etc" / "new").stat().st_mode & 0o777 == 0o640


def client(folder: Path, version: str, *, buildx: bool) -> Path:
    folder.mkdir()
    path = folder / "docker"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = buildx ] && exit {0 if buildx else 1}\necho "Docker version {version}, build x"\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("version", "buildx", "taken"),
    [("20.10.24+dfsg1", False, True), ("28.2.2", False, False), ("28.2.2", True, True)],
)
def test_a_client_with_buildkit_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, buildx: bool, taken: bool
) -> None:
    first = client(tmp_path / "first", version, buildx=buildx)
    second = client(tmp_path / "second", "20.10.1", buildx=False)
    monkeypatch.setattr(command, "SYSTEM_PATH", f"{first.parent}:{second.parent}:{command.SYSTEM_PATH}")
    assert find_client() == str(first if taken else second)


def test_no_client_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "SYSTEM_PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="no docker client with BuildKit"):
        find_client()


def test_the_call_has_neither_network_nor_cache() -> None:
    build = DockerBuild(
        context=Path("/c"),
        file=Path("/c/Containerfile"),
        base="b",
        epoch=5,
        arguments={"VERSION": "1", "BASE": "b; rm -rf /"},
        address="unix:///d",
        log=Path("/log"),
        what="cannot bake",
    )
    argv = build.command("/usr/bin/docker", Path("/id"))
    assert argv[:2] == ["/usr/bin/docker", "build"]
    assert argv[-1] == "/c"
    assert {"--network=none", "--no-cache", "--iidfile=/id", "--file=/c/Containerfile"} < {*argv}
    first, second = (index for index, word in enumerate(argv) if word == "--build-arg")
    assert (argv[first + 1], argv[second + 1]) == ("BASE=b; rm -rf /", "VERSION=1")


def test_places_of_mounts_are_read_from_the_containerfile() -> None:
    text = "RUN --mount=type=bind,source=.,target=/run/debs x\nRUN --mount=type=tmpfs,target=/t --mount=target=/u y"
    assert docker_build.MOUNT_TARGET.findall(text) == ["/run/debs", "/t", "/u"]
