"""A log of many lines becomes the few that say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from xwhep_packaging.stages.debs import explain

NOISE = "dpkg-buildpackage: info: source package x\n dh_auto_build\nmake[1]: Entering directory '/build/x'\n"
C_ERROR = f"""{NOISE}cc -c a.c
a.c: In function 'main':
a.c:3:12: error: 'count' undeclared (first use in this function)
    3 |     return count
      |            ^~~~~
a.c:3:17: error: expected ';' before '}}' token
make[1]: *** [Makefile:2: a] Error 1
dh_auto_build: error: make -j2 returned exit code 2
make: *** [debian/rules:3: binary] Error 25
dpkg-buildpackage: error: debian/rules binary subprocess failed with exit status 2
"""


def test_compiler_error_comes_first_with_its_frame() -> None:
    lines = explain.relevant_lines(C_ERROR).splitlines()
    assert lines[0].startswith("a.c:3:12: error:")
    assert lines[1:3] == ["    3 |     return count", "      |            ^~~~~"]
    assert "expected ';'" in lines[3]
    assert lines[4] == "make[1]: *** [Makefile:2: a] Error 1"
    assert len(lines) <= explain.SHOWN_LINES


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("ld: a.o: undefined reference to `sin'\ncollect2: x", "undefined reference to `sin'"),
        ("make: *** No rule to make target 'b', needed by 'all'.  Stop.", "No rule to make target 'b'"),
        ("Traceback\n  File x\nValueError: wrong\n", "ValueError: wrong"),
        ("sh: 1: tool: not found\n", "tool: not found"),
        ("one\ntwo\n", "one\ntwo"),
        ("", ""),
    ],
)
def test_relevant_lines(log: str, says: str) -> None:
    assert says in explain.relevant_lines(log)


@pytest.mark.parametrize(
    ("log", "what"),
    [
        ("dpkg-checkbuilddeps: error: Unmet build dependencies: a (>= 9)\n", "needs packages that its chroot lacks"),
        ("Hunk #1 FAILED at 1.\ndpkg-source: error: LC_ALL=C patch -t returned 1\n", "does not apply"),
        ("dpkg-gencontrol: error: debian/control: syntax error at line 3\n", "the files in debian/ of source"),
        (C_ERROR, "does not build"),
    ],
)
def test_kinds_of_failure_are_told_apart(log: str, what: str, tmp_path: Path) -> None:
    error = explain.failed_build("x", log, tmp_path / "log")
    assert what in error.what
    assert error.cause
    assert error.next_step
    assert error.log == tmp_path / "log"


# The network, which no build has


RESOLVE = (
    "no network: asked for mirror.invalid\nurllib.error.URLError: <urlopen error Temporary failure in name resolution>"
)


@pytest.mark.parametrize(
    ("log", "host"),
    [
        (RESOLVE, "mirror.invalid"),
        ("curl: (6) Could not resolve host: files.invalid", "files.invalid"),
        ("curl: (7) Failed to connect to 192.0.2.7 port 80: Network is unreachable", "192.0.2.7"),
        ("wget: unable to resolve host address 'a.invalid'", "a.invalid"),
        ("HTTPSConnectionPool(host='index.invalid', port=443): Max retries exceeded with url: /x", "index.invalid"),
        ("Err:1 http://debs.invalid sid InRelease\n  Could not resolve 'debs.invalid'", "debs.invalid"),
        ("fatal: unable to access 'https://git.invalid/x/': Could not resolve host: git.invalid", "git.invalid"),
    ],
    ids=["python", "curl", "curl by number", "wget", "pip", "apt", "git"],
)
def test_a_build_that_wants_the_network_says_which_host(log: str, host: str) -> None:
    error = explain.failed_build("grid", f"{NOISE}{log}\n", Path("/the/log"))
    assert error.what == f"source 'grid' wants the network: {host}"
    assert "the network is off" in error.next_step


@pytest.mark.parametrize(
    "log",
    [
        "no network: asked for mirror.invalid\nValueError: wrong\n",
        "no network: asked for build\nConnection refused\n",
        "see http://docs.invalid/errors\nValueError: wrong\n",
    ],
    ids=["another failure", "its own name", "an address in a message"],
)
def test_a_build_that_fails_otherwise_is_told_otherwise(log: str) -> None:
    assert explain.wanted_hosts(log) == []
