"""One Containerfile, two engines: buildah and docker give images with equal layers and an equal configuration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clones import Clone
from golden import bake_sample, remove_image
from tiny_root import make_tiny_root
from xwhep_packaging.docker_build import find_client
from xwhep_packaging.errors import BakeError
from xwhep_packaging.layers import Below, folders_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="docker needs root")
WHAT_CAN_DIFFER = """
ARG BASE
FROM ${BASE}
ARG SOURCE_DATE_EPOCH
COPY --chown=7:8 note.txt /srv/
RUN --mount=type=bind,source=.,target=/run/debs \\
    cp /run/debs/note.txt /etc/note && ln /etc/note /etc/hard && ln -s note /etc/soft && rm -r /old && \\
    chmod 4755 /etc/note && chown 990:990 /srv && mkdir -m 0700 /var/new && \\
    date -d @${SOURCE_DATE_EPOCH} > /etc/day && rm /gone && mkdir /gone && \\
    touch /old-but-empty/x && rm /old-but-empty/x
ENV A=b C="d e"
USER 990:990
VOLUME /var/new
WORKDIR /var/new
EXPOSE 4321
HEALTHCHECK --interval=10s --timeout=5s CMD ["/bin/true"]
ENTRYPOINT ["/bin/sh"]
ARG VERSION
LABEL version="${VERSION}" other=""
"""
BASE = "FROM scratch\nADD root /\n"


@dataclass(frozen=True, kw_only=True)
class Base:
    """An image in buildah's storage by its name, and the folders in it."""

    name: str
    below: Below


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """A small base image in buildah's storage, under a name."""
    folder = tmp_path_factory.mktemp("base")
    root = make_tiny_root(folder / "context" / "root")
    for name in ("dev", "proc", "sys", "run", "srv", "var", "old", "old-but-empty"):
        (root / name).mkdir(exist_ok=True)
    (root / "old" / "file").write_text("old\n")
    (root / "gone").write_text("gone\n")
    (root / "etc" / "hostname").write_text("")
    (folder / "context" / "Containerfile").write_text(BASE)
    facts = bake_sample(folder / "draft", folder / "context")
    name = f"localhost/two-engines:{os.getpid()}"
    subprocess.run(["buildah", "tag", facts["digest"], name], check=True)
    subprocess.run(["tar", "-C", str(root), "-cf", str(folder / "root.tar"), "."], check=True)
    yield Base(name=name, below=Below(layers=facts["layers"], folders=folders_of(folder / "root.tar")))
    remove_image(name)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "note.txt").write_text("a note\n")
    (folder / "Containerfile").write_text(WHAT_CAN_DIFFER)
    return folder


def test_equal_layers_and_configuration(base: Base, context: Path, docker_daemon: str, tmp_path: Path) -> None:
    """Whiteouts, links, owners, modes, a file that becomes a folder, and the place of a mount."""
    on_base = {"arguments": {"BASE": base.name}, "below": base.below}
    by_buildah = bake_sample(tmp_path / "one", context, **on_base)
    by_docker = bake_sample(tmp_path / "two", context, **on_base, isolation="docker", docker=docker_daemon)
    try:
        assert by_docker["layers"] == by_buildah["layers"]
        configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("one", "two")]
        assert configs[1] == configs[0]
        assert by_docker["digest"] == by_buildah["digest"]
        assert len(by_docker["layers"]) == 2
        assert json.loads((tmp_path / "one" / "folders.json").read_text())["var/new"] == [0o700, 0, 0]
    finally:
        remove_image(by_docker["digest"])
        remove_image(by_buildah["digest"])
    _nothing_left(docker_daemon, base.name)


def _nothing_left(address: str, base: str) -> None:
    """In the daemon only the base; in buildah's storage no container of ours."""
    argv = [find_client(), "images", "--format", "{{.Repository}}:{{.Tag}}"]
    known = subprocess.run(argv, env={"DOCKER_HOST": address}, check=True, capture_output=True, text=True).stdout
    assert known.split() == [base]
    containers = subprocess.run(["buildah", "containers", "--json"], check=True, capture_output=True, text=True).stdout
    assert not [row for row in json.loads(containers) or [] if base in row["imagename"]]


def test_a_containerfile_that_chooses_no_base(base: Base, tmp_path: Path, docker_daemon: str) -> None:
    """Folders that look like the base's are no less there: nothing is below."""
    context = tmp_path / "context"
    (context / "tree" / "srv").mkdir(parents=True)
    (context / "Containerfile").write_text("FROM scratch\nADD tree /\n")
    on_base = {"arguments": {"BASE": base.name}, "below": base.below}
    by_buildah = bake_sample(tmp_path / "one", context, **on_base)
    by_docker = bake_sample(tmp_path / "two", context, **on_base, isolation="docker", docker=docker_daemon)
    try:
        assert (by_docker["layers"], by_docker["digest"]) == (by_buildah["layers"], by_buildah["digest"])
        assert json.loads((tmp_path / "one" / "folders.json").read_text()).keys() == {"srv"}
    finally:
        remove_image(by_docker["digest"])


def test_a_step_that_fails_says_so(base: Base, context: Path, docker_daemon: str, tmp_path: Path) -> None:
    (context / "Containerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN echo so it ends; exit 7\n")
    with pytest.raises(BakeError, match="cannot bake image 'sample'") as caught:
        bake_sample(tmp_path / "one", context, arguments={"BASE": base.name}, isolation="docker", docker=docker_daemon)
    assert "so it ends" in (tmp_path / "one" / "log").read_text()
    assert "exit code: 7" in caught.value.cause


@pytest.mark.nightly
def test_the_products_images_are_equal(built: Clone, docker_daemon: str) -> None:
    """All three, baked by docker in a store that lacks them."""
    own = {image["name"]: (image["layers"], image["digest"]) for image in built.latest()["images"]}
    before = built.git("rev-parse", "HEAD")
    try:
        built.change("packaging/pipeline.toml", '\n[surroundings]\nisolation = "docker"\n')
        shutil.rmtree(built.store / "images")  # no key holds the surroundings
        built.doit("images", DOCKER_HOST=docker_daemon, XWHEP_ENGINE="podman")
        manifests = [json.loads(path.read_text()) for path in (built.store / "images").glob("*/manifest.json")]
        found = {made["name"]: (made["facts"]["layers"], made["facts"]["digest"]) for made in manifests}
        assert found == own
    finally:
        built.git("reset", "--quiet", "--hard", before)
