"""Each finding both ways: a machine that has it, and one that lacks it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pretended import Pretended
from xwhep_packaging import doctor, engines, machine
from xwhep_packaging.doctor import HINT, OK, PROBLEM, Finding, Patient
from xwhep_packaging.errors import EngineError, MachineError
from xwhep_packaging.machine import Machine

NOW = 1_800_000_000.0
GIGABYTE = 10**9
RELEASE = "Origin: Debian\nDate: Fri, 15 Jan 2027 07:{minute}:00 UTC\n"  # NOW is 08:00
IDS = "other:100000:1\nbuilder:100000:65536\n"
READ = machine.Machine(user="", uid=0).read


def good() -> Machine:
    return Machine(
        user="builder",
        uid=1000,
        installed=lambda names: {*names},
        succeeds=lambda argv: True,
        free=lambda folder: 100 * GIGABYTE,
        read=lambda path: IDS if path.name.startswith("sub") else READ(path),
        written_at=lambda folder: NOW,
        release_of=lambda address: RELEASE.format(minute=59),
        memory=lambda: 8 * GIGABYTE,
        umask=lambda: 0o077,
        now=lambda: NOW,
    )


@pytest.fixture
def examine(grid: Pretended, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Finding]]:
    grid.file.write_text(grid.file.read_text() + '[suite]\nmirror = "http://mirror.invalid/debian"\n')
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def examined(**answers: object) -> dict[str, Finding]:
        pipeline = grid.run()
        changed = replace(good(), **answers)  # type: ignore[arg-type]
        found = doctor.examine(Patient(machine=changed, pipeline=pipeline))
        worst = sorted(found, key=lambda row: (OK, HINT, PROBLEM).index(row.level))
        return {row.subject: row for row in worst}

    return examined


def test_a_good_machine(examine: Callable[..., dict[str, Finding]]) -> None:
    found = examine()
    assert {row.level for row in found.values()} == {OK}
    assert {row.mend for row in found.values()} == {""}
    subjects = {
        "tools",
        "engine",
        "namespaces",
        "tunnel",
        "subuid",
        "subgid",
        "store",
        "disk",
        "cache",
        "memory",
        "tmpfs",
    }
    assert set(found) == subjects | {"umask", "mirror", "clock"}
    doctor.raise_for(list(found.values()))


def unwritable(folder: Path) -> float:
    raise PermissionError(13, "Permission denied")


def without_git(names: list[str]) -> set[str]:
    return {*names} - {"git", "runc"}


def no_unshare(argv: list[str]) -> bool:
    return "unshare" not in argv


IN_A_CONTAINER = {"uid": 0, "user": "root", "succeeds": no_unshare}


LATE = {"now": lambda: NOW - 9 * 3600, "written_at": lambda folder: NOW - 9 * 3600}


@pytest.mark.parametrize(
    ("subject", "level", "answers", "words", "mend"),
    [
        pytest.param("tools", PROBLEM, {"installed": without_git}, "git runc", "--install", id="tools"),
        pytest.param("engine", PROBLEM, {"succeeds": lambda argv: "podman" not in argv}, "podman", "info", id="engine"),
        pytest.param("namespaces", PROBLEM, {"succeeds": no_unshare}, "no names", "sysctl", id="ns"),
        pytest.param("tunnel", HINT, {"succeeds": lambda argv: argv[0] != "test"}, "rootless", "chmod", id="tun"),
        pytest.param("mounts", HINT, IN_A_CONTAINER, "without /proc", "SYS_ADMIN", id="no mounts"),
        pytest.param("network", HINT, IN_A_CONTAINER, "not cut off", "SYS_ADMIN", id="no network namespace"),
        pytest.param("users", HINT, IN_A_CONTAINER, "ordinary user", "SYS_ADMIN", id="no user namespace"),
        pytest.param("subuid", PROBLEM, {"user": "nobody"}, "gives nobody no", "--add-subuids", id="subuid"),
        pytest.param("subgid", PROBLEM, {"user": "nobody"}, "gives nobody no", "--add-subgids", id="subgid"),
        pytest.param("store", PROBLEM, {"written_at": unwritable}, "Permission denied", "XWHEP_STORE", id="store"),
        pytest.param("disk", PROBLEM, {"free": lambda folder: GIGABYTE}, "1.0 GB", "XWHEP_STORE", id="disk full"),
        pytest.param("disk", HINT, {"free": lambda folder: 6 * GIGABYTE}, "6.0 GB", "XWHEP_STORE", id="disk small"),
        pytest.param("cache", PROBLEM, {"free": lambda folder: 10**8}, "0.1 GB", "XWHEP_CACHE", id="cache"),
        pytest.param("memory", HINT, {"memory": lambda: GIGABYTE}, "1.0 GB", "-n 1", id="memory"),
        pytest.param("tmpfs", HINT, {"free": lambda folder: 64 * 10**6}, "/dev/shm", "--shm-size", id="tmpfs"),
        pytest.param("umask", HINT, {"umask": lambda: 0o002}, "0002: other users", "umask 0022", id="umask of a group"),
        pytest.param("umask", PROBLEM, {"umask": lambda: 0o277}, "0277: a build", "umask 0022", id="umask of nobody"),
        pytest.param("mirror", PROBLEM, {"release_of": lambda address: ""}, "3 locked", "XWHEP_MIRROR", id="mirror"),
        pytest.param("clock", PROBLEM, LATE, "behind", "ntp", id="clock"),
        pytest.param("clock", HINT, {"written_at": lambda folder: NOW + 60}, "60 s ahead", "NTP", id="file system"),
    ],
)  # fmt: skip
def test_a_finding(
    examine: Callable[..., dict[str, Finding]],
    subject: str,
    level: str,
    answers: dict[str, object],
    words: str,
    mend: str,
) -> None:
    found = examine(**answers)
    assert (found[subject].level, words in found[subject].what, mend in found[subject].mend) == (level, True, True), (
        found
    )
    rows = list(found.values())
    assert f"next: {found[subject].mend}" in doctor.table(rows)
    assert doctor.as_json(rows)["works"] is not any(row.level == PROBLEM for row in rows)
    if level == PROBLEM:
        with pytest.raises(MachineError, match=subject):
            doctor.raise_for([found[subject]])
    else:
        doctor.raise_for([found[subject]])


def test_a_mirror_is_only_wished_for_when_all_is_in_the_cache(
    examine: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.DebCache, "missing", lambda self, debs: [])
    found = examine(release_of=lambda address: "")
    assert (found["mirror"].level, "in the cache" in found["mirror"].what) == (HINT, True)


def test_no_engine_at_all(examine: Callable[..., dict[str, Finding]], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(settings: object, memory: Path) -> None:
        raise EngineError("no docker daemon answers", next_step="start it")

    examine()
    monkeypatch.setattr(engines, "choose", none)
    found = examine()
    assert (found["engine"].level, found["engine"].mend) == (PROBLEM, "start it")


def test_root_needs_no_numbers(examine: Callable[..., dict[str, Finding]]) -> None:
    assert examine(uid=0, read=READ)["subuid"].level == OK


def test_an_index_without_a_date_says_nothing_of_the_clock(examine: Callable[..., dict[str, Finding]]) -> None:
    assert examine(release_of=lambda address: "Date: whenever\n")["clock"].level == OK


# The real answers, of this machine


def test_real_answers(tmp_path: Path) -> None:
    real = machine.this_machine()
    assert real.installed(["dpkg", "no-such-package-anywhere"]) == {"dpkg"}
    assert (real.succeeds(["true"]), real.succeeds(["false"]), real.succeeds(["no-such-tool"])) == (True, False, False)
    assert real.free(tmp_path / "not" / "there") > 0
    assert real.read(tmp_path / "none") == ""
    assert abs(real.written_at(tmp_path) - real.now()) < 60
    assert list(tmp_path.iterdir()) == []
    assert real.memory() > 10**6
    assert real.umask() == int(subprocess.run(["sh", "-c", "umask"], capture_output=True, check=True).stdout, 8)


def test_a_release_file_is_fetched(tmp_path: Path) -> None:
    """By apt's helper, which takes a local address as any other; and nothing comes from a closed port."""
    (tmp_path / "InRelease").write_text("Date: now\n")
    real = machine.this_machine()
    assert real.release_of(f"copy:{tmp_path}/InRelease") == "Date: now\n"
    assert real.release_of("http://127.0.0.1:9/debian/dists/trixie/InRelease") == ""


def test_machines_get_the_same(examine: Callable[..., dict[str, Finding]]) -> None:
    rows = list(examine(memory=lambda: GIGABYTE).values())
    told = json.loads(json.dumps(doctor.as_json(rows)))
    assert told["works"] is True
    assert {row["subject"] for row in told["findings"] if row["level"] == HINT} == {"memory"}
