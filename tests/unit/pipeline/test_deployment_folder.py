"""deployments/NAME on disk: private, whole, and whole again after a kill at any moment."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tomllib
from pathlib import Path

import pytest

from deployments import MADE_AT, PASSWORD, deployment, put
from xwhep_packaging.deployment import folder, making
from xwhep_packaging.deployment.records import Deployment
from xwhep_packaging.errors import AnswerError, DeploymentError, SecretsExposed, StoreError


@pytest.fixture(scope="module")
def made() -> Deployment:
    return deployment()


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "deployments"


def test_what_was_written_is_read(parent: Path, made: Deployment) -> None:
    assert folder.write(parent, made) == parent / "lab"
    assert folder.read(parent, "lab") == made
    assert folder.names(parent) == ["lab"]


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o000])
def test_modes_hang_on_no_umask(parent: Path, made: Deployment, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder.write(parent, made)
    finally:
        os.umask(before)
    place = parent / "lab"
    modes = {path.relative_to(place).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in place.rglob("*")}
    assert modes == {
        "deployment.toml": 0o600,
        "authority": 0o700,
        "authority/0001.key": 0o600,
        "authority/0001.pem": 0o600,
        "server.pem": 0o600,
        "admin.json": 0o600,
        "join.json": 0o600,
        "digest.key": 0o600,
    }
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert [entry.name for entry in parent.iterdir() if entry.name != ".lock"] == ["lab"]


def test_readable_part_holds_no_secret(parent: Path, made: Deployment) -> None:
    folder.write(parent, made)
    text = (parent / "lab" / "deployment.toml").read_text()
    table = tomllib.loads(text)
    assert table["server"] == "grid.example.org"
    assert table["packages"]["worker"] == {"serial": 1, "changed": MADE_AT}
    for secret in (PASSWORD, made.joins[0].token, made.admin.password_hash, made.digest_key.hex()):
        assert secret not in text


def test_renewed_replaces_the_old_whole(parent: Path, made: Deployment) -> None:
    folder.write(parent, made)
    after = making.rotated(made, "authority", MADE_AT + 1)
    folder.write(parent, after)
    assert folder.read(parent, "lab") == after
    assert {path.name for path in (parent / "lab" / "authority").iterdir()} == {
        *("0001.key", "0001.pem"),
        *("0002.key", "0002.pem"),
    }


class Killed(BaseException):
    """What SIGKILL does, as far as the disk can tell: nothing after it happens."""


def steps_of_a_write(parent: Path, made: Deployment, monkeypatch: pytest.MonkeyPatch, stop_at: int) -> int:
    """Write, but die before the change of the disk of that number; how many there were."""
    count = 0

    def counted(real):
        def call(*words, **more):
            nonlocal count
            count += 1
            if count == stop_at:
                raise Killed
            return real(*words, **more)

        return call

    with monkeypatch.context() as patch:
        for owner, name in ((Path, "rename"), (Path, "mkdir"), (os, "fsync"), (folder, "remove_tree")):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        with contextlib.suppress(Killed):
            folder.write(parent, made)
    return count


def test_killed_first_write_leaves_nothing_or_all(
    parent: Path, made: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = steps_of_a_write(parent, made, monkeypatch, stop_at=0)
    assert total > 10
    for stop_at in range(1, total + 1):
        shutil.rmtree(parent, ignore_errors=True)
        steps_of_a_write(parent, made, monkeypatch, stop_at)
        if folder.names(parent):
            assert folder.read(parent, "lab") == made
        else:
            folder.write(parent, made)
            assert folder.read(parent, "lab") == made
        assert [entry.name for entry in parent.iterdir() if entry.name != ".lock"] == ["lab"]


def test_killed_renewal_leaves_the_old_or_the_new(
    parent: Path, made: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = making.rotated(made, "admin", MADE_AT + 1)
    folder.write(parent, made)
    total = steps_of_a_write(parent, after, monkeypatch, stop_at=0)
    seen = []
    for stop_at in range(1, total + 1):
        shutil.rmtree(parent)
        folder.write(parent, made)
        steps_of_a_write(parent, after, monkeypatch, stop_at)
        assert folder.names(parent) == ["lab"]
        found = folder.read(parent, "lab")
        assert found in (made, after)
        seen.append(found == after)
        assert [entry.name for entry in parent.iterdir() if entry.name != ".lock"] == ["lab"]
    assert sorted(seen) == seen, "once it is the new one, it stays"
    assert {True, False} == set(seen)


# What is refused


@pytest.mark.parametrize("name", ["admin.json", "authority/0001.key", "authority", "deployment.toml", "."])
def test_what_others_can_read_is_refused_by_its_name(parent: Path, name: str) -> None:
    put(parent)
    path = parent / "lab" / name
    path.chmod(path.stat().st_mode | 0o040)
    with pytest.raises(SecretsExposed) as caught:
        folder.read(parent, "lab")
    assert str(path.resolve()) in caught.value.what
    assert caught.value.next_step.startswith("chmod ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("deployment.toml", b"name = ", id="no TOML"),
        pytest.param("deployment.toml", b'name = "lab"\nmore = 1\n', id="unknown key"),
        pytest.param("admin.json", b"{}", id="no login"),
        pytest.param("join.json", b"[]", id="no token"),
        pytest.param("join.json", b"\xff", id="no UTF-8"),
    ],
)
def test_damaged_is_said(parent: Path, name: str, content: bytes) -> None:
    put(parent)
    (parent / "lab" / name).write_bytes(content)
    with pytest.raises(DeploymentError, match="is damaged") as caught:
        folder.read(parent, "lab")
    assert PASSWORD not in caught.value.report()


@pytest.mark.parametrize("name", ["server.pem", "digest.key", "authority/0001.key", "authority/0001.pem"])
def test_missing_file_is_said(parent: Path, name: str) -> None:
    put(parent)
    (parent / "lab" / name).unlink()
    with pytest.raises(DeploymentError, match="is damaged"):
        folder.read(parent, "lab")


def test_copy_under_another_name_is_not_taken_for_it(parent: Path) -> None:
    put(parent)
    shutil.copytree(parent / "lab", parent / "copy")
    with pytest.raises(DeploymentError, match="'copy' is damaged"):
        folder.read(parent, "copy")


def test_unknown_one_names_the_known(parent: Path) -> None:
    with pytest.raises(DeploymentError, match="no deployment 'lab'"):
        folder.read(parent, "lab")
    put(parent)
    with pytest.raises(DeploymentError) as caught:
        folder.read(parent, "other")
    assert caught.value.cause == "known: lab"


@pytest.mark.parametrize("name", ["", "Lab", "../lab", "-lab", "a" * 41, "lab.1", "lab\n", ".lab.old"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(AnswerError):
        folder.checked_name(name)


def test_disk_that_cannot_be_written(parent: Path, made: Deployment) -> None:
    parent.write_text("in the way")
    with pytest.raises(StoreError, match="cannot write the deployment"):
        folder.write(parent, made)
