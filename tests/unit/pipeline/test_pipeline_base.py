"""Stage base: the call of mmdebstrap, the machine's mirrors, and what its failures are called."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from xwhep_packaging import command
from xwhep_packaging.command import Command, Result
from xwhep_packaging.errors import BaseError, NetworkError, SettingsError
from xwhep_packaging.settings import Settings
from xwhep_packaging.stages import base
from xwhep_packaging.store import Draft

Load = Callable[..., Settings]
TOOLS = {"mmdebstrap": "1.0", "buildah": "1.0"}
MIRRORS = '[suite]\nmirror = "copy:/m/debian"\nsecurity_mirror = "copy:/m/debian-security"\n'

ONE_LINE = """
# deb http://comment.invalid/debian trixie main
deb [signed-by=/k.gpg arch=amd64] http://one.invalid/debian trixie main contrib
deb-src http://source.invalid/debian trixie main
deb http://one.invalid/debian-security trixie-security main # the security archive
"""
DEB822 = """
Types: deb deb-src
URIs: http://two.invalid/debian
Suites: trixie trixie-updates
Components: main

# URIs: http://comment.invalid/debian
Types: deb
URIs: http://two.invalid/debian-security
 http://three.invalid/debian-security
Suites: trixie-security
Components:
 main
 contrib
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    folder = tmp_path / "apt"
    (folder / "sources.list.d").mkdir(parents=True)
    return folder


# Mirrors


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param(
            "sources.list",
            ONE_LINE,
            ("http://one.invalid/debian", "http://one.invalid/debian-security"),
            id="one-line form",
        ),
        pytest.param(
            "sources.list.d/debian.sources",
            DEB822,
            ("http://two.invalid/debian", "http://two.invalid/debian-security"),
            id="deb822 form",
        ),
        pytest.param(
            "sources.list.d/debian.list",
            "deb http://four.invalid/debian/ trixie main\n",
            ("http://four.invalid/debian/", "http://four.invalid/debian-security"),
            id="no security archive named",
        ),
    ],
)
def test_mirrors_of_the_machine(settings: Settings, apt: Path, name: str, content: str, expected: object) -> None:
    (apt / name).write_text(content)
    assert base.mirrors(settings, apt) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(
            "sources.list.d/x.list", "deb http://maker.invalid/linux/debian trixie stable\n", id="other maker"
        ),
        pytest.param("sources.list.d/x.list.save", "deb http://old.invalid/debian trixie main\n", id="name apt skips"),
        pytest.param("sources.list.d/x.sources", "Enabled: no\n" + DEB822.partition("\n\n")[0].strip(), id="disabled"),
        pytest.param(
            "sources.list.d/x.sources",
            DEB822.replace("Types: deb deb-src", "Types: deb-src").partition("\n\n")[0],
            id="source only",
        ),
        pytest.param("sources.list", "", id="empty"),
    ],
)
def test_what_is_no_mirror(settings: Settings, apt: Path, name: str, content: str) -> None:
    (apt / name).write_text(content)
    with pytest.raises(SettingsError, match="no Debian mirror is known") as caught:
        base.mirrors(settings, apt)
    assert "XWHEP_MIRROR" in caught.value.next_step


def test_settings_are_stronger_than_the_machine(load: Load, apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    assert base.mirrors(load(more=MIRRORS), apt) == ("copy:/m/debian", "copy:/m/debian-security")
    only = load(more='[suite]\nmirror = "copy:/m/debian"\n')
    assert base.mirrors(only, apt) == ("copy:/m/debian", "http://one.invalid/debian-security")


def test_this_machine_has_a_mirror(settings: Settings) -> None:
    assert all(base.mirrors(settings))


def test_apt_lines(load: Load) -> None:
    assert base.apt_lines(load(more=MIRRORS + 'components = ["main", "contrib"]\n')) == [
        "deb copy:/m/debian trixie main contrib",
        "deb copy:/m/debian trixie-updates main contrib",
        "deb copy:/m/debian-security trixie-security main contrib",
    ]


# The call


def test_mmdebstrap_command(load: Load) -> None:
    settings = load(more=MIRRORS)
    argv = base.mmdebstrap_command(settings, settings.base, Path("/out/root.tar"))
    assert argv[0] == "mmdebstrap"
    assert "--variant=essential" in argv
    assert "--architectures=amd64" in argv
    assert next(word for word in argv if word.startswith("--include=")).split("=")[1].split(",")[-2:] == [
        "python3",
        "tini",
    ]
    assert "--dpkgopt=path-exclude=/usr/share/doc/*" in argv
    assert argv[argv.index("trixie") + 1] == "/out/root.tar"
    assert argv[argv.index("trixie") + 2 :] == base.apt_lines(settings)


def test_mmdebstrap_command_is_pure(load: Load) -> None:
    settings = load(more=MIRRORS)
    calls = [base.mmdebstrap_command(settings, settings.chroot, Path("/o")) for _ in range(2)]
    assert calls[0] == calls[1]


def test_residue_of_a_run_is_removed(load: Load, tmp_path: Path) -> None:
    """The hooks, run by a real shell on a folder: machine names and logs go, everything else stays."""
    settings, root = load(more=MIRRORS), tmp_path / "root"
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
    argv = base.mmdebstrap_command(settings, settings.base, Path("/o"))
    hooks = [word.partition("=")[2] for word in argv if word.startswith("--customize-hook=")]
    for hook in hooks:
        subprocess.run(["sh", "-c", hook, "hook", str(root)], check=True, capture_output=True)
    left = {str(path.relative_to(root)): path.stat().st_size for path in root.rglob("*") if path.is_file()}
    assert left == {"etc/passwd": 7, "var/lib/dpkg/status": 7, "etc/resolv.conf": 0, "etc/hostname": 0}


# Keys


def test_key_follows_what_goes_in(load: Load) -> None:
    key = base.recipe(load(), "rootfs", TOOLS).key
    assert base.recipe(load(), "rootfs", TOOLS).key == key
    assert base.recipe(load(), "chroot", TOOLS).key != key
    assert base.recipe(load(('"tini"]', '"tini", "bash"]')), "rootfs", TOOLS).key != key
    assert base.recipe(load(('["/usr/share/doc/*"]', "[]")), "rootfs", TOOLS).key != key
    assert base.recipe(load(more='[suite]\nname = "forky"\n'), "rootfs", TOOLS).key != key
    assert base.recipe(load(), "rootfs", {**TOOLS, "mmdebstrap": "2.0"}).key != key


def test_key_does_not_follow_the_mirror(load: Load) -> None:
    """Two machines with other mirrors share one key; what a mirror holds is the lock's matter."""
    assert base.recipe(load(more=MIRRORS), "rootfs", TOOLS).key == base.recipe(load(), "rootfs", TOOLS).key


# Making and failing


def archive(tarball: Path, status: str) -> None:
    with tarfile.open(tarball, "w") as made:
        member = tarfile.TarInfo("./var/lib/dpkg/status")
        member.size = len(status.encode())
        made.addfile(member, io.BytesIO(status.encode()))


@pytest.fixture
def draft(tmp_path: Path) -> Draft:
    folder = tmp_path / "draft"
    folder.mkdir()
    return Draft(folder=folder, log=tmp_path / "log")


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], list[Command]]:
    """mmdebstrap ends with this status and these words; other tools are real. Returns the calls."""
    real, calls = command.run, []

    def make(status: int, words: str) -> list[Command]:
        def run(wanted: Command, *, check: bool = True) -> Result:
            if wanted.argv[0] != "mmdebstrap":
                return real(wanted, check=check)
            calls.append(wanted)
            if status == 0:
                archive(Path(next(word for word in map(str, wanted.argv) if word.endswith("root.tar"))), words)
            return Result(returncode=status, stdout=words)

        monkeypatch.setattr(command, "run", run)
        return calls

    return make


def test_made_root_lists_its_packages(load: Load, draft: Draft, pretend: Callable[[int, str], list[Command]]) -> None:
    status = "".join(
        f"Package: {n}\nStatus: x\nVersion: {v}\nArchitecture: all\n\n" for n, v in (("b", "2"), ("a", "1"))
    )
    calls = pretend(0, status)
    base.make_base(load(more=MIRRORS), "rootfs", draft)
    assert (draft.folder / "packages.tsv").read_text() == "a\t1\tall\nb\t2\tall\n"
    assert draft.facts["packages"] == 2
    assert draft.facts["epoch"] == base.FIXED_EPOCH
    assert calls[0].env["SOURCE_DATE_EPOCH"] == str(base.FIXED_EPOCH)
    assert not Path(calls[0].env["TMPDIR"]).exists()


@pytest.mark.parametrize(
    ("words", "error", "what", "cause"),
    [
        pytest.param(
            "Get:1\nErr:2 http://m.invalid trixie InRelease\n  Could not resolve 'm.invalid'\nE: Failed to fetch x",
            NetworkError,
            "cannot fetch packages",
            "E: Failed to fetch x",
            id="no network",
        ),
        pytest.param(
            "E: Unable to locate package pythn3\nE: apt failed",
            BaseError,
            "the suite has no package 'pythn3'",
            "E: Unable to locate package pythn3",
            id="unknown package",
        ),
        pytest.param("tar: broken pipe", BaseError, "cannot make the rootfs", "tar: broken pipe", id="anything else"),
    ],
)
def test_failures_are_explained(
    load: Load,
    draft: Draft,
    pretend: Callable[[int, str], list[Command]],
    words: str,
    error: type[BaseError],
    what: str,
    cause: str,
) -> None:
    pretend(1, words)
    with pytest.raises(error, match=what) as caught:
        base.make_base(load(more=MIRRORS), "rootfs", draft)
    assert cause in caught.value.cause
    assert caught.value.log == draft.log
