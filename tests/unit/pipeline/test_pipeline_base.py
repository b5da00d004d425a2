"""Stage base: the call of mmdebstrap on a closed repository, and that what is installed is what is locked."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from xwhep_packaging import command, lockfile
from xwhep_packaging.artefacts import FileRecord, Manifest, Output
from xwhep_packaging.command import Command, Result
from xwhep_packaging.debcache import DebCache
from xwhep_packaging.errors import BaseError, LockError
from xwhep_packaging.lockfile import Deb, DebSet
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import base
from xwhep_packaging.store import Draft

Load = Callable[..., Settings]
EPOCH = 1_700_000_000


# The call


def test_mmdebstrap_command(settings: Settings) -> None:
    argv = base.mmdebstrap_command(settings, settings.base, Path("/repository"), Path("/out/root.tar"))
    assert argv[: len(base.without_network())] == base.without_network()
    assert "mmdebstrap" in argv
    assert "--variant=essential" in argv
    assert "--architectures=amd64" in argv
    assert "--include=python3,tini" in argv
    assert "--dpkgopt=path-exclude=/usr/share/doc/*" in argv
    assert argv[-3:] == ["", "/out/root.tar", "deb [trusted=yes] copy:/repository ./"]
    assert argv == base.mmdebstrap_command(settings, settings.base, Path("/repository"), Path("/out/root.tar"))


def test_residue_of_a_run_is_removed(settings: Settings, tmp_path: Path) -> None:
    """The hooks, run by a real shell on a folder: machine names and logs go, everything else stays."""
    root = tmp_path / "root"
    for name in (
        "etc/passwd",
        "etc/passwd-",
        "etc/resolv.conf",
        "etc/machine-id",
        "var/log/dpkg.log",
        "var/lib/dpkg/status",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("content")
    argv = base.mmdebstrap_command(settings, settings.base, Path("/r"), Path("/o"))
    hooks = [word.partition("=")[2] for word in argv if word.startswith("--customize-hook=")]
    for hook in hooks:
        subprocess.run(["sh", "-c", hook, "hook", str(root)], check=True, capture_output=True)
    left = {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}
    assert left == {"etc/passwd": 7, "var/lib/dpkg/status": 7, "etc/resolv.conf": 0, "etc/hostname": 0}


# Keys


def test_key_follows_what_goes_in(load: Load) -> None:
    key = base.recipe(load(), "rootfs", "debs").key
    assert base.recipe(load(), "rootfs", "debs").key == key
    assert base.recipe(load(), "chroot", "debs").key != key
    assert base.recipe(load(), "rootfs", "other debs").key != key
    assert base.recipe(load(('"tini"]', '"tini", "bash"]')), "rootfs", "debs").key != key
    assert base.recipe(load(('["/usr/share/doc/*"]', "[]")), "rootfs", "debs").key != key


def test_key_does_not_follow_the_mirror(load: Load) -> None:
    """Two machines with other mirrors share one key: what a mirror holds is the lock's matter."""
    other = load(more='[suite]\nmirror = "copy:/m/debian"\nsecurity_mirror = "copy:/m/debian-security"\n')
    assert base.recipe(other, "rootfs", "d").key == base.recipe(load(), "rootfs", "d").key


# Making and failing


def archive(tarball: Path, status: str) -> None:
    with tarfile.open(tarball, "w") as made:
        device = tarfile.TarInfo("./dev/null")
        device.type = tarfile.CHRTYPE
        for first in (tarfile.TarInfo("./dev"), device, tarfile.TarInfo("./dev/shm")):
            made.addfile(first)
        member = tarfile.TarInfo("./var/lib/dpkg/status")
        member.size = len(status.encode())
        made.addfile(member, io.BytesIO(status.encode()))


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    folder = tmp_path / "draft"
    folder.mkdir()
    return Draft(folder=folder, log=tmp_path / "log")


def real_deb(folder: Path, name: str, version: str = "1.0") -> tuple[Path, Deb]:
    """A package that apt-ftparchive can read, and its line in a lock."""
    tree = folder / name
    (tree / "DEBIAN").mkdir(parents=True)
    fields = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "m <m@m.invalid>"}
    control = "".join(f"{field}: {value}\n" for field, value in fields.items())
    (tree / "DEBIAN/control").write_text(f"{control}Description: a package\n")
    path = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, path], check=True, capture_output=True)
    sha256, size = base.sha256_file(path), path.stat().st_size
    place = f"pool/main/{name}_{version}_all.deb"
    return path, Deb(name=name, version=version, arch="all", archive="main", path=place, size=size, sha256=sha256)


@pytest.fixture
def packages(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Output:
    """The stage packages' output: two packages, both in the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache, debs = DebCache(settings.cache_folder), []
    for name in ("a", "b"):
        path, deb = real_deb(tmp_path / "made", name * 2)
        cache.path(deb.sha256).parent.mkdir(parents=True)
        path.rename(cache.path(deb.sha256))
        debs.append(deb)
    folder = tmp_path / "packages"
    folder.mkdir()
    lockfile.write_set(folder / "debs.json", DebSet(wish="w", epoch=EPOCH, debs=tuple(debs)))
    files = {"debs.json": FileRecord(1, "0")}
    return Output(folder=folder, manifest=Manifest(stage="packages", name="rootfs", key="k", inputs={}, files=files))


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], list[Command]]:
    """mmdebstrap ends with this status and these words, or makes a root with them as dpkg's status; other tools are
    real. Returns the calls."""
    real, calls = command.run, []

    def make(status: int, words: str) -> list[Command]:
        def run(wanted: Command, *, check: bool = True) -> Result:
            if "mmdebstrap" not in wanted.argv:
                return real(wanted, check=check)
            repository = Path(str(wanted.argv[-1]).split()[2].removeprefix("copy:"))
            calls.append(wanted)
            assert "Package: aa" in (repository / "Packages").read_text()
            if status == 0:
                archive(Path(next(word for word in map(str, wanted.argv) if word.endswith("root.tar"))), words)
            return Result(returncode=status, stdout=words)

        monkeypatch.setattr(command, "run", run)
        return calls

    return make


Pretend = Callable[[int, str], list[Command]]


def installed(*rows: tuple[str, str]) -> str:
    return "".join(f"Package: {name}\nStatus: x\nVersion: {version}\nArchitecture: all\n\n" for name, version in rows)


def test_made_root_lists_its_packages(settings: Settings, packages: Output, draft: Draft, pretend: Pretend) -> None:
    calls = pretend(0, installed(("bb", "1.0"), ("aa", "1.0")))
    base.make_base(settings, "rootfs", packages, draft)
    assert (draft.folder / "packages.tsv").read_text() == "aa\t1.0\tall\nbb\t1.0\tall\n"
    assert draft.facts["packages"] == 2
    assert draft.facts["epoch"] == EPOCH
    with tarfile.open(draft.folder / "root.tar") as made:
        assert made.getnames() == ["./dev", "./dev/shm", "./var/lib/dpkg/status"], "no device files"
    assert calls[0].env["SOURCE_DATE_EPOCH"] == str(EPOCH)
    assert not Path(calls[0].env["TMPDIR"]).exists()


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        pytest.param((("aa", "1.0"),), "not there: bb 1.0 all", id="one is missing"),
        pytest.param((("aa", "1.0"), ("bb", "1.0"), ("cc", "9")), "not locked: cc 9 all", id="one more"),
        pytest.param((("aa", "1.0"), ("bb", "2.0")), "not locked: bb 2.0 all", id="another version"),
    ],
)
def test_a_root_that_differs_from_the_lock_is_refused(
    settings: Settings, packages: Output, draft: Draft, pretend: Pretend, rows: tuple[tuple[str, str], ...], cause: str
) -> None:
    pretend(0, installed(*rows))
    with pytest.raises(LockError, match="is not what the lock says") as caught:
        base.make_base(settings, "rootfs", packages, draft)
    assert cause in caught.value.cause


def test_failures_are_explained(settings: Settings, packages: Output, draft: Draft, pretend: Pretend) -> None:
    pretend(1, "I: fine\nE: no room\n")
    with pytest.raises(BaseError, match="cannot make the rootfs") as caught:
        base.make_base(settings, "rootfs", packages, draft)
    assert caught.value.cause == "E: no room"
    assert caught.value.log == draft.log
