"""The gates that try the packages, without a root: what they read, call and say; integration tests let them run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import cast

import pytest

from clones import REPOSITORY
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release import moving
from xwhep_packaging.release.gates import autopkgtest, purging
from xwhep_packaging.release.gates.autopkgtest import Trial, read_tests
from xwhep_packaging.release.gates.rooms import Room
from xwhep_packaging.release.making import GATES

CONTROL = """Tests: one, two
Depends: @, python3 (>= 3.13)
Restrictions: needs-root, allow-stderr

Test-Command: grid version
Depends: grid-client

Tests: three
Tests-Directory: more
"""


def test_tests_are_read_as_debian_writes_them() -> None:
    both = ("grid-server", "grid-client")
    root = frozenset({"needs-root", "allow-stderr"})
    assert list(read_tests(CONTROL, both)) == [
        Trial(name="one", argv=("debian/tests/one",), packages=(*both, "python3"), restrictions=root),
        Trial(name="two", argv=("debian/tests/two",), packages=(*both, "python3"), restrictions=root),
        Trial(name="command2", argv=("sh", "-euc", "grid version"), packages=("grid-client",)),
        Trial(name="three", argv=("more/three",), packages=both),
    ]
    assert list(read_tests("", both)) == []


def test_an_unknown_restriction_is_refused() -> None:
    with pytest.raises(ReleaseError, match="asks for isolation-machine, which is not offered"):
        list(read_tests("Tests: one\nRestrictions: isolation-machine allow-stderr\n", ()))


def test_ours_are_each_role_alone_and_all_linked() -> None:
    tests = {test.name: test for test in read_tests((REPOSITORY / autopkgtest.CONTROL).read_text(), ())}
    alone = {f"{role}-alone": (f"xwhep-{role}",) for role in ("server", "worker", "client")}
    assert {name: test.packages for name, test in tests.items() if name != "linked"} == alone
    assert set(tests["linked"].packages) == {"xwhep-server", "xwhep-worker", "xwhep-client"}
    assert all(os.access(REPOSITORY / test.argv[0], os.X_OK) for test in tests.values())


@pytest.mark.parametrize(
    ("command", "restrictions", "status", "said"),
    [("true", {"needs-root"}, 0, ""), ("echo bad >&2", {"needs-root"}, 0, "bad\n"), ("exit 7", {"needs-root"}, 7, "")],
)
def test_standard_error_is_kept_apart(
    tmp_path: Path, command: str, restrictions: set[str], status: int, said: str
) -> None:
    test = Trial(name="t", argv=("sh", "-c", command), packages=(), restrictions=frozenset(restrictions))
    script = autopkgtest._script(test).replace("/build", str(tmp_path))
    done = subprocess.run(["sh", "-c", script, "sh", *test.argv], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, (tmp_path / "stderr").read_text()) == (status, said, said)


def test_without_needs_root_another_user_runs_it() -> None:
    assert autopkgtest._script(Trial(name="t", argv=("x",), packages=())).startswith("setpriv --reuid=1000 ")


def test_a_room_has_no_network_and_goes_with_its_last_process(tmp_path: Path) -> None:
    room = Room(tarball=Path("root.tar"), mountpoint=tmp_path / "root", work=tmp_path, variables={"A": "b"})
    argv = room.command(["sh", "-c", "true"], "/build")
    assert argv[0] == "unshare"
    assert {"--net", "--pid", "--kill-child", "--mount"} <= set(argv)
    assert argv[-8:] == ["--chdir=/build", argv[-7], "LC_ALL=C.UTF-8", *argv[-5:]]
    assert argv[-4:] == ["A=b", "sh", "-c", "true"]


# What is left


def test_what_is_left_gone_or_another_is_named() -> None:
    before = {"/etc/a": " f 644 sum", "/etc/b": " f 644 sum", "/etc/passwd": " f 644 sum", "/srv": " d 755"}
    after = {"/etc/b": " f 600 sum", "/etc/passwd": " f 644 other", "/srv": " d 755", "/var/lib/x": " d 700"}
    assert purging.left(before, after) == ["/etc/a is gone", "/etc/b was changed", "/var/lib/x is left"]
    assert purging.left(before, before) == []


@pytest.mark.parametrize(
    "path", ["/etc/passwd-", "/etc/.pwd.lock", "/var/lib/dpkg", "/var/lib/dpkg/info/x.list", "/var/log/dpkg.log"]
)
def test_notes_of_dpkg_and_users_may_stay(path: str) -> None:
    assert purging.left({}, {path: " f 644 sum"}) == []


@pytest.mark.parametrize("path", ["/etc/passwd.d", "/var/log/dpkg.log.d/x", "/var/lib/dpkg2", "/etc/xwhep"])
def test_what_only_looks_like_it_may_not(path: str) -> None:
    assert purging.left({}, {path: " f 644 sum"}) == [f"{path} is left"]


def test_something_left_fails_and_says_how_to_mend_it() -> None:
    with pytest.raises(ReleaseError, match="packages of the server image are purged, and something is left") as caught:
        purging._judge("server", [f"/srv/{number} is left" for number in range(10)])
    assert caught.value.cause.splitlines()[-1] == "and 2 more"
    assert "postrm" in caught.value.next_step
    purging._judge("server", [])


def test_modes_and_sums_of_a_path_are_read_together(tmp_path: Path) -> None:
    (tmp_path / "seen").write_bytes(b"f 644 0:0 \t/a\xff\nl 777 0:0 b\t/l\nabc\t/a\xff\n")
    assert purging._seen(tmp_path / "seen") == {"/a\udcff": " f 644 0:0  abc", "/l": " l 777 0:0 b"}


def test_an_earlier_version_needs_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "tree" / "DEBIAN").mkdir(parents=True)
    (tmp_path / "tree" / "DEBIAN" / "control").write_text(
        "Package: grid\nVersion: 1.0~git1+a\nArchitecture: all\nMaintainer: A <a@b.invalid>\n"
        "Depends: grid-data (= 1.0~git1+a), python3\nDescription: d\n"
    )
    (tmp_path / "tree" / "file").write_text("x")
    now, before = tmp_path / "now.deb", tmp_path / "before.deb"
    subprocess.run(["dpkg-deb", "--build", tmp_path / "tree", now], check=True, capture_output=True)
    purging.earlier(now, before, tmp_path / "log")
    argv = ["dpkg-deb", "--show", "--showformat=${Version} ${Depends}", before]
    shown = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    assert shown == "0~earlier grid-data (= 0~earlier), python3"


# By name alone


@pytest.mark.parametrize("skip", ["tests", "verify,everything", "Structure"])
def test_a_gate_is_left_out_by_its_name_alone(skip: str) -> None:
    with pytest.raises(ReleaseError, match="there is no check ") as caught:
        moving.make(cast(Pipeline, None), skip, print)
    assert caught.value.next_step == f"one of {', '.join(GATES)}"
