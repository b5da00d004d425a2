"""The table of known failures, fed with what the tools really print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import BaseError, CommandError, NetworkTestError
from xwhep_packaging.known_failures import KNOWN, LAST_LINES, recognise

# Each line as a tool printed it: cp and Python on a full tmpfs of 1 MB; apt-get 2.6 at a closed port, at a name that
# nobody has, at repositories made wrong on purpose; podman, buildah and mmdebstrap as a user without subordinate ids;
# unshare and bwrap below a limit of 0 namespaces; pip, git and apt-get at a server with a certificate of its own.
SAID = {
    "disk full": [
        "cp: error writing '/mnt/b': No space left on device",
        "OSError: [Errno 28] No space left on device",
    ],
    "mirror unreachable": [
        "W: Failed to fetch http://127.0.0.1:9/debian/dists/trixie/InRelease  Could not connect to 127.0.0.1:9 "
        "(127.0.0.1). - connect (111: Connection refused)",
        "W: Failed to fetch http://nowhere.invalid/debian/dists/trixie/InRelease  Could not resolve 'nowhere.invalid'",
    ],
    "missing subuid": [
        'time="2026-11-28T12:29:58Z" level=warning msg="Reading allowed ID mappings: reading subuid mappings for '
        'user \\"somebody\\" and subgid mappings for group \\"somebody\\": no subuid ranges found for user '
        '\\"somebody\\" in /etc/subuid"',
        'time="2026-11-28T12:29:58Z" level=warning msg="Found no UID ranges set aside for user \\"somebody\\" in '
        '/etc/subuid."',
        "W: /etc/subuid is empty\nE: failed to parse /etc/subuid and /etc/subgid",
    ],
    "clock skew": [
        "E: Release file for copy:/srv/repo/./InRelease is expired (invalid since 1791d 12h 30min 18s). Updates for "
        "this repository will not be applied.",
    ],
    "hash mismatch": [
        "E: Failed to fetch copy:/srv/repo/./Packages  Hash Sum mismatch",
    ],
    "untrusted certificate": [
        "Could not fetch URL https://localhost:8766/nothing-here/: There was a problem confirming the ssl certificate: "
        "HTTPSConnectionPool(host='localhost', port=8766): Max retries exceeded with url: /nothing-here/ (Caused by "
        "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed "
        "certificate (_ssl.c:1006)'))) - skipping",
        "fatal: unable to access 'https://localhost:8766/': server certificate verification failed. CAfile: "
        "/etc/ssl/certs/ca-certificates.crt CRLfile: none",
        "W: Failed to fetch https://localhost:8766/./InRelease  Certificate verification failed: The certificate is "
        "NOT trusted. The certificate issuer is unknown.  Could not handshake: Error in the certificate verification. "
        "[IP: 127.0.0.1 8766]",
    ],
    "port in use": ["OSError: [Errno 98] Address already in use"],
    "engine does not answer": [
        "Cannot connect to the Docker daemon at unix:///nonexist.sock. Is the docker daemon running?",
        'Error: unable to connect to Podman socket: Get "http://d/v4.3.1/libpod/_ping": dial unix /nonexist.sock: '
        "connect: no such file or directory",
        "docker.errors.DockerException: Error while fetching server API version: ('Connection aborted.', "
        "FileNotFoundError(2, 'No such file or directory'))",
    ],
    "out of memory": [
        "Killed",
        "bash: line 1: 17068 Killed                  python3 build.py",
        "MemoryError",
    ],
    "no user namespaces": [
        "unshare: unshare failed: No space left on device",
        "bwrap: Creating new namespace failed: nesting depth or /proc/sys/user/max_*_namespaces exceeded (ENOSPC)",
    ],
    "permission denied": ["touch: cannot touch '/root/x': Permission denied"],
}
WHOLE = [(name, text) for name, texts in SAID.items() for text in texts]


@pytest.mark.parametrize(("name", "text"), WHOLE, ids=[f"{name}: {text[:30]}" for name, text in WHOLE])
def test_what_a_tool_prints_is_recognised(name: str, text: str) -> None:
    known = recognise(text.splitlines())
    assert known is not None
    assert known.name == name


def test_every_entry_was_seen_and_says_what_to_do() -> None:
    assert {known.name for known in KNOWN} == set(SAID)
    for known in KNOWN:
        assert known.cause
        assert re.search(r"[a-z]", known.next_step)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "dpkg-buildpackage: error: debian/rules build subprocess returned exit status 2",
        "test_disk.py::test_space_left_is_said PASSED",
        "killed = [one for one in processes if one.dead]",
        "make[1]: Leaving directory '/build/thing'",
    ],
)
def test_what_is_not_known_is_not_guessed(line: str) -> None:
    assert recognise([line]) is None


def failed(*words: str, log: Path | None = None) -> str:
    """What is printed of a command that fails for real."""
    with pytest.raises(CommandError) as caught:
        command.run(Command(argv=list(words), log=log, next_step="read the log"))
    return caught.value.report()


def test_report_of_a_failed_command_names_the_cause_the_command_and_the_log(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    said = failed("sh", "-c", "echo working; cat /dev/zero > /dev/full", log=log).splitlines()
    assert said[0] == "error [command]: sh failed with status 1"
    assert said[1].startswith("  known: disk full: the disk")
    assert any("No space left on device" in line for line in said), "the tool's own words stay"
    assert next(line for line in said if line.startswith("  next:")).startswith("  next:  df -h")
    assert "  then:  read the log" in said
    assert said[-1] == f"  log:   {log}"


def test_unknown_failure_is_reported_as_before() -> None:
    assert failed("sh", "-c", "echo odd >&2; exit 3").splitlines() == [
        "error [command]: sh failed with status 3",
        "  cause: odd",
        "  next:  read the log",
    ]


def test_only_the_end_of_a_log_is_searched(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    log.write_text("No space left on device\n" + "mended\n" * LAST_LINES)
    assert "known:" not in BaseError("it failed", log=log).report()
    log.write_text("mended\n" * LAST_LINES + "No space left on device\n")
    assert "known: disk full" in BaseError("it failed", log=log).report()
    assert "known:" not in BaseError("it failed", log=tmp_path / "none").report()


def test_what_a_test_provokes_is_no_failure_of_the_machine() -> None:
    assert "known:" not in NetworkTestError("it fails", cause="E  PermissionError: Permission denied").report()
