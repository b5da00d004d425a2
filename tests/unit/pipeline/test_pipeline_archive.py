"""The Debian archive: the machine's mirrors, apt's words, and files that are fetched and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from xwhep_packaging import archive, command
from xwhep_packaging.archive import Apt, Wanted
from xwhep_packaging.command import Command, Result
from xwhep_packaging.errors import LockError, NetworkError, PipelineError, SettingsError
from xwhep_packaging.lockfile import Deb
from xwhep_packaging.settings import Settings

Load = Callable[..., Settings]
CONTENT = b"a package"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
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
    assert archive.mirrors(settings, apt) == expected


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
        archive.mirrors(settings, apt)
    assert "XWHEP_MIRROR" in caught.value.next_step


def test_settings_are_stronger_than_the_machine(load: Load, apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE)
    assert archive.mirrors(load(more=MIRRORS), apt) == ("copy:/m/debian", "copy:/m/debian-security")
    only = load(more='[suite]\nmirror = "copy:/m/debian"\n')
    assert archive.mirrors(only, apt) == ("copy:/m/debian", "http://one.invalid/debian-security")


def test_this_machine_has_a_mirror(settings: Settings) -> None:
    assert all(archive.mirrors(settings))


def test_apt_lines(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(archive, "KEYRING", tmp_path / "none")
    assert archive.apt_lines(load(more=MIRRORS + 'components = ["main", "contrib"]\n')) == [
        "deb copy:/m/debian trixie main contrib",
        "deb copy:/m/debian trixie-updates main contrib",
        "deb copy:/m/debian-security trixie-security main contrib",
    ]


def test_keyring_of_the_settings_signs(load: Load) -> None:
    lines = archive.apt_lines(load(more=MIRRORS + 'keyring = "/k/own.gpg"\n'))
    assert all(line.startswith("deb [signed-by=/k/own.gpg] copy:/m/") for line in lines)


# What apt says


def line(address: str, name: str = "tini_0.19.0-3_amd64.deb", saved: str = "") -> str:
    """In the pool a name has no epoch; apt saves the file under one that has."""
    return f"'{address}/pool/main/t/tini/{name}' {saved or name} {len(CONTENT)} SHA256:{SHA256}\n"


@pytest.fixture
def apt_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str, str], list[Command]]:
    """apt ends with this status, prints this and complains so. Returns the calls."""

    def make(status: int, words: str, complaint: str) -> list[Command]:
        calls: list[Command] = []

        def run(wanted: Command, *, check: bool = True) -> Result:
            calls.append(wanted)
            return Result(returncode=status, stdout=words, stderr=complaint)

        monkeypatch.setattr(command, "run", run)
        return calls

    return make


AptSays = Callable[[int, str, str], list[Command]]


def asked(settings: Settings, folder: Path) -> Apt:
    return Apt(settings=settings, folder=folder, log=folder / "log")


def test_resolved_packages_name_no_host(load: Load, tmp_path: Path, apt_says: AptSays) -> None:
    pooled = "libx_2.0%2bb1_amd64.deb"
    other = line("copy:/m/debian-security", pooled, "libx_1%3a2.0+b1_amd64.deb")
    calls = apt_says(0, line("copy:/m/debian") + other, "")
    found = asked(load(more=MIRRORS), tmp_path).resolve(["tini"], [], [])
    assert [(deb.name, deb.version, deb.archive) for deb in found] == [
        ("libx", "1:2.0+b1", "security"),
        ("tini", "0.19.0-3", "main"),
    ]
    assert {deb.path for deb in found} == {
        "pool/main/t/tini/libx_2.0+b1_amd64.deb",
        "pool/main/t/tini/tini_0.19.0-3_amd64.deb",
    }
    assert calls[-1].argv[-2:] == ["?essential", "tini"]


def test_apt_works_on_a_folder_of_its_own(load: Load, tmp_path: Path, apt_says: AptSays) -> None:
    calls = apt_says(0, line("copy:/m/debian"), "")
    asked(load(more=MIRRORS), tmp_path).resolve([], ["a | b"], [])
    words = " ".join(map(str, calls[-1].argv))
    for place in ("Dir::State::status", "Dir::State::lists", "Dir::Cache::archives", "Dir::Etc::sourcelist"):
        assert f"{place}={tmp_path}/" in words
    assert "--print-uris" in words


def test_other_archives_are_refused(load: Load, tmp_path: Path, apt_says: AptSays) -> None:
    apt_says(0, line("copy:/elsewhere/debian"), "")
    with pytest.raises(LockError, match="would take tini from an archive that is not the suite's"):
        asked(load(more=MIRRORS), tmp_path).resolve(["tini"], [], [])


@pytest.mark.parametrize(
    ("complaint", "error", "what"),
    [
        pytest.param("E: Unable to locate package pythn3", LockError, "no package 'pythn3'", id="unknown package"),
        pytest.param(
            "The following packages have unmet dependencies:\n x : Depends: y (>= 9) but 1 is to be installed\n"
            "E: Unable to correct problems",
            LockError,
            "cannot give what is asked for",
            id="unsatisfiable",
        ),
        pytest.param(
            "Err:1 x\n  Could not resolve 'm'\nE: Failed to fetch", NetworkError, "does not answer", id="no net"
        ),
        pytest.param("E: broken", LockError, "apt-get install fails", id="anything else"),
    ],
)
def test_apts_failures_are_explained(
    load: Load, tmp_path: Path, apt_says: AptSays, complaint: str, error: type[PipelineError], what: str
) -> None:
    apt_says(100, "", complaint)
    with pytest.raises(error, match=what) as caught:
        asked(load(more=MIRRORS), tmp_path).resolve(["tini"], [], [])
    assert caught.value.next_step
    assert caught.value.cause


# Files, by the real apt-helper, from a folder


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    file = tmp_path / "mirror/pool/main/t/tini/tini_1_all.deb"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return file


@pytest.fixture
def deb() -> Deb:
    return Deb(
        name="tini",
        version="1",
        arch="all",
        archive="main",
        path="pool/main/t/tini/tini_1_all.deb",
        size=len(CONTENT),
        sha256=SHA256,
    )


def test_a_file_is_fetched(pool: Path, deb: Deb, tmp_path: Path) -> None:
    target = tmp_path / "target"
    addresses = {"main": f"file:{tmp_path}/mirror/"}
    assert archive.fetch(addresses, [Wanted(deb=deb, target=target)], tmp_path / "log") == []
    assert target.read_bytes() == CONTENT


def test_a_file_that_is_gone_is_told(pool: Path, deb: Deb, tmp_path: Path) -> None:
    pool.unlink()
    addresses = {"main": f"copy:{tmp_path}/mirror"}
    assert archive.fetch(addresses, [Wanted(deb=deb, target=tmp_path / "t")], tmp_path / "log") == [deb]


def test_another_file_under_the_name_is_refused(pool: Path, deb: Deb, tmp_path: Path) -> None:
    pool.write_bytes(CONTENT[::-1])
    addresses = {"main": f"copy:{tmp_path}/mirror"}
    with pytest.raises(NetworkError, match="serves another file as tini 1"):
        archive.fetch(addresses, [Wanted(deb=deb, target=tmp_path / "t")], tmp_path / "log")


def test_a_dead_mirror_is_no_lost_version(deb: Deb, tmp_path: Path) -> None:
    addresses = {"main": "http://127.0.0.1:9"}
    with pytest.raises(NetworkError, match="cannot fetch tini 1"):
        archive.fetch(addresses, [Wanted(deb=deb, target=tmp_path / "t")], tmp_path / "log")
