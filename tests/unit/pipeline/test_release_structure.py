"""The gate `structure`: what it says of an image that is not as it has to be."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiny_image import EXPECTS, LABELS, LayerMaker, base, subject
from xwhep_packaging.definitions import Expects
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.gates import structure


def test_a_good_image_passes(tmp_path: Path) -> None:
    structure.check([subject(base(tmp_path))])


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"User": ""}, "runs as 'root'"),
        ({"User": "0:0"}, "runs as '0:0'"),
        ({"User": "somebody"}, "runs as 'somebody'"),
        ({"User": "000"}, "runs as '000'"),
        ({"ExposedPorts": None}, "announces the ports none instead of 4321/tcp"),
        ({"ExposedPorts": {"4321/tcp": {}, "22/tcp": {}}}, "announces the ports 22/tcp, 4321/tcp instead of 4321/tcp"),
        ({"Labels": None}, "lacks the labels created, revision, source, title, version"),
        ({"Labels": {**LABELS, "org.opencontainers.image.version": "2"}}, "its label version is '2' instead of '1.0'"),
        (
            {"Labels": {**LABELS, "org.opencontainers.image.created": "2020-01-01T00:00:00Z"}},
            "its label created is '2020-01-01T00:00:00Z' instead of",
        ),
    ],
)
def test_configuration_is_looked_at(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    (found,) = structure.problems(subject(base(tmp_path), **config))
    assert found.startswith(told)


@pytest.mark.parametrize(
    ("add", "told"),
    [
        (lambda top: top.add("usr/bin/su", "x", 0o4755), "/usr/bin/su is setuid or setgid (4755)"),
        (lambda top: top.add("usr/bin/mail", "x", 0o2755), "/usr/bin/mail is setuid or setgid (2755)"),
        (lambda top: top.add("srv", mode=0o777, type=tarfile.DIRTYPE), "/srv can be written by everybody (0777)"),
        (lambda top: top.add("srv", mode=0o1777, type=tarfile.DIRTYPE), "/srv can be written by everybody (1777)"),
        (lambda top: top.add("tmp", mode=0o777, type=tarfile.DIRTYPE), "/tmp can be written by everybody (0777)"),
        (lambda top: top.add("etc/x", "x", 0o666), "/etc/x can be written by everybody (0666)"),
        (lambda top: top.add("dev/null", mode=0o644, type=tarfile.CHRTYPE), "/dev/null is a device or a pipe"),
        (lambda top: top.add("opt/busybox", "x", 0o755), "/opt/busybox is a shell that has no business there"),
        (lambda top: top.add("usr/bin/.wh.dash"), "says why it has dash, and has it not"),
    ],
)
def test_files_are_looked_at(tmp_path: Path, add: Callable[[LayerMaker], LayerMaker], told: str) -> None:
    assert list(structure.problems(subject(base(tmp_path), add(LayerMaker(tmp_path))))) == [told]


@pytest.mark.parametrize(
    "add",
    [
        lambda top: top.add("usr/share/doc/zsh", "x"),
        lambda top: top.link("opt/bash", "dash"),
        lambda top: top.add("var/mail", mode=0o2775, type=tarfile.DIRTYPE),
    ],
    ids=["no program", "a link", "a folder of a group"],
)
def test_what_only_looks_like_it_is_let_be(tmp_path: Path, add: Callable[[LayerMaker], LayerMaker]) -> None:
    assert list(structure.problems(subject(base(tmp_path), add(LayerMaker(tmp_path))))) == []


def test_over_budget_it_says_who_brings_the_megabytes(tmp_path: Path) -> None:
    image = subject(base(tmp_path, **{"usr/lib/x/libc.so": "x" * 1_500_000}))
    (found,) = structure.problems(image)
    assert found.startswith("has 1.5 MB, 1 at most; of it: libc6 1.5, ")
    assert list(structure.problems(subject(base(tmp_path), expects=Expects(ports=[4321], shells=EXPECTS.shells)))) == []


def test_the_account_is_of_all_bytes(tmp_path: Path) -> None:
    image = subject(base(tmp_path))
    account = structure.account(image.tree)
    assert sum(account.values()) == image.tree.size
    assert account["libc6"] == len("library" + "source" + "byte code" + "diverted")
    assert account["dash"] == len("shell")
    assert list(account.values()) == sorted(account.values(), reverse=True)
    assert structure.sizes([image])["server"]["budget"] == 1_000_000


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    many = base(tmp_path)
    for number in range(12):
        many.add(f"opt/{number:02}", "x", 0o666)
    with pytest.raises(ReleaseError, match="an image is not as it has to be") as caught:
        structure.check([subject(many, User="0")])
    lines = caught.value.cause.splitlines()
    assert lines[0] == "server: runs as '0': a number other than 0 is wanted"
    assert lines[-1] == "and 5 more"
    assert "skip=structure" in caught.value.next_step
