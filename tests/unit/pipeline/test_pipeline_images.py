"""Stage images: names, keys, the call of buildah, and a configuration without traces of the run."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from xwhep_packaging import baking, command
from xwhep_packaging.artefacts import FileRecord, Manifest, Output, dated, rfc3339
from xwhep_packaging.command import Command, Result
from xwhep_packaging.errors import BakeError
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import images
from xwhep_packaging.store import Draft

Load = Callable[..., Settings]
UPSTREAM = {"base:image": "k1", "debs:grid": "k2", "folder": "k3", "epoch": "1"}


def output(folder: Path, name: str, files: tuple[str, ...] = (), **facts: object) -> Output:
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file).write_text(file)
    records = {file: FileRecord(len(file), "0" * 64) for file in files}
    manifest = Manifest(stage="s", name=name, key="k" * 64, inputs={}, files=records, facts=facts)
    return Output(folder=folder, manifest=manifest)


# Names


def test_second_name_has_the_sources_time() -> None:
    assert dated(1795473997) == "2026-11-23-22-46-37"
    assert rfc3339(1795473997) == "2026-11-23T22:46:37Z"


@pytest.mark.parametrize(
    ("version", "tag"),
    [
        ("11.0.0", "11.0.0"),
        ("11.0.0~git20261123.2246+abcdef0", "11.0.0-git20261123.2246-abcdef0"),
        ("1:2.0", "1-2.0"),
    ],
)
def test_version_as_a_tag(version: str, tag: str) -> None:
    assert images.version_tag(version) == tag
    assert re.fullmatch(r"[\w][\w.-]{0,127}", images.version_tag(version))


def test_base_tag_names_the_root_it_holds(settings: Settings) -> None:
    assert images.base_tag(settings, "abc" * 20) == "localhost/grid-base:abcabcabcabcabca"


# Keys


def test_key_follows_names_and_inputs(load: Load) -> None:
    key = images.recipe(load(), "server", UPSTREAM).key
    assert images.recipe(load(), "server", UPSTREAM).key == key
    assert images.recipe(load(("gridserverimg", "otherimg")), "server", UPSTREAM).key != key
    assert images.recipe(load(('["grid-server"]', '["grid-server", "grid-more"]')), "server", UPSTREAM).key != key
    assert images.recipe(load(('[product]\nname = "grid"', '[product]\nname = "g2"')), "server", UPSTREAM).key != key
    for name in UPSTREAM:
        assert images.recipe(load(), "server", {**UPSTREAM, name: "other"}).key != key


def test_base_key_follows_root() -> None:
    key = images.base_recipe("k").key
    assert images.base_recipe("other").key != key


# The call


def test_bake_command() -> None:
    bake = baking.Bake(
        context=Path("/c"),
        file=Path("/c/Containerfile"),
        tags=("a:1", "b:2"),
        epoch=5,
        arguments={"VERSION": "1", "BASE": "b; rm -rf /"},
        id_file=Path("/id"),
    )
    argv = bake.command()
    assert argv[argv.index("unshare") :][:3] == ["unshare", "--net", "--uts"]
    assert argv[argv.index("build") :][:3] == ["build", "buildah", "build"], "the host's name, then the call"
    assert {"--http-proxy=false", "--no-hosts", "--dns=none"} < {*argv}
    assert argv[-1] == "/c"
    assert "--timestamp=5" in argv
    assert "--omit-history" in argv
    first, second = (index for index, word in enumerate(argv) if word == "--build-arg")
    assert (argv[first + 1], argv[second + 1]) == ("BASE=b; rm -rf /", "VERSION=1")
    assert bake.command() == argv
    assert "--isolation=chroot" in argv
    assert f"--cgroup-parent=xwhep-bake-{os.getpid()}" in argv, "whose it is, should it be killed"
    other = replace(bake, isolation="oci").command()
    assert {*other} - {*argv} == {"--isolation=oci", "--runtime=runc", "--network=host"}


# The configuration


def test_configuration_has_no_trace_of_the_run() -> None:
    """Two runs differ in the container's name and the order of keys; their configurations do not."""
    one = {"os": "linux", "container": "1f", "config": {"Hostname": "1f", "Image": "x", "Cmd": ["a"]}, "history": [1]}
    two = {"config": {"Cmd": ["a"], "Hostname": "2e"}, "container": "2e", "os": "linux", "container_config": {}}
    assert baking.canonical_config(one) == baking.canonical_config(two)
    assert json.loads(baking.canonical_config(one)) == {"os": "linux", "config": {"Cmd": ["a"]}}


@pytest.mark.parametrize("change", [{"os": "other"}, {"config": {"Cmd": ["b"]}}, {"created": "now"}])
def test_configuration_keeps_what_matters(change: dict[str, object]) -> None:
    config = {"os": "linux", "config": {"Cmd": ["a"]}}
    assert baking.canonical_config({**config, **change}) != baking.canonical_config(config)


# Failures


@pytest.fixture
def inputs(tmp_path: Path) -> images.ImageInputs:
    context = tmp_path / "context.tar"
    folder = tmp_path / "images" / "server"
    folder.mkdir(parents=True)
    (folder / "Containerfile").write_text("FROM scratch\n")
    command.run(Command(argv=["tar", "-C", tmp_path, "-cf", context, "images/server"]))
    debs = output(tmp_path / "debs", "grid", ("grid-server_1_all.deb", "grid-server-more_1_all.deb"), version="1~2")
    base = output(tmp_path / "base", "base", ("folders.json",), tags=["localhost/grid-base:1"], layers=["sha256:0"])
    base.path("folders.json").write_text("{}")
    return images.ImageInputs(
        context=context,
        debs={"grid": debs},
        base=base,
        epoch=5,
        revision="f" * 40,
        origin="local",
    )


def draft_in(folder: Path) -> Draft:
    folder.mkdir()
    return Draft(folder=folder, log=folder.with_name("log"))


def test_package_that_the_source_does_not_build(load: Load, inputs: images.ImageInputs, tmp_path: Path) -> None:
    settings = load(('["grid-server"]', '["grid-serv"]'))
    with pytest.raises(BakeError, match="wants the package 'grid-serv'") as caught:
        images.make_image(settings, "server", inputs, draft_in(tmp_path / "draft"))
    assert "[images.server]" in caught.value.next_step


def test_containerfile_that_fails_is_explained(
    settings: Settings, inputs: images.ImageInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call gets names, version and time; buildah's own words are the cause."""
    real, calls, contexts = command.run, [], []

    def run(wanted: Command, *, check: bool = True) -> Result:
        if "buildah" not in wanted.argv:
            return real(wanted, check=check)
        calls.append([str(word) for word in wanted.argv])
        contexts.append({path.name for path in Path(calls[0][-1]).iterdir()})
        raise wanted.error(wanted.what, cause="Error: building at STEP 1", log=wanted.log)

    monkeypatch.setattr(command, "run", run)
    with pytest.raises(BakeError, match="cannot bake image 'server'") as caught:
        images.make_image(settings, "server", inputs, draft_in(tmp_path / "draft"))
    assert "STEP 1" in caught.value.cause
    assert {"VERSION=1~2", "BASE=localhost/grid-base:1", "CREATED=1970-01-01T00:00:05Z"} <= set(calls[0])
    assert contexts == [{"Containerfile", "grid-server_1_all.deb"}], "only the packages that were named"


@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is a build tool: scripts/doit --install")
def test_broken_containerfile_with_buildah_itself(load: Load, inputs: images.ImageInputs, tmp_path: Path) -> None:
    folder = tmp_path / "images" / "server"
    (folder / "Containerfile").write_text("FROM scratch\nNOSUCHWORD\n")
    command.run(Command(argv=["tar", "-C", tmp_path, "-cf", inputs.context, "images/server"]))
    with pytest.raises(BakeError) as caught:
        images.make_image(load(), "server", inputs, draft_in(tmp_path / "draft"))
    assert "NOSUCHWORD" in caught.value.cause.upper()
    assert caught.value.log
