"""The script that a tree's own command runs in, and what counts as a sound package."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from xwhep_packaging.definitions import CommandSource, Service
from xwhep_packaging.stages.debs import by_command

FIELDS = {
    "Package": "tool",
    "Version": "1:2.0-1~a+b",
    "Architecture": "all",
    "Maintainer": "A <a@b>",
    "Description": "d",
}


def run(source: CommandSource, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", by_command.script(source)], cwd=folder, capture_output=True, text=True, check=False, timeout=20
    )


def source(command: list[str], *services: Service) -> CommandSource:
    return CommandSource(command=command, debs=["*.deb"], services=list(services))


def test_command_runs_when_its_service_is_ready_and_the_service_ends_with_it(tmp_path: Path) -> None:
    service = Service(command=["sh", "-c", "sleep 0.3; echo $$ >pid; exec sleep 60"], ready=["test", "-s", "pid"])
    done = run(source(["cat", "pid"], service), tmp_path)
    assert done.returncode == 0
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_service_that_will_not_end_is_killed(tmp_path: Path) -> None:
    """Its ending is asked for, and then forced; the command's status stays."""
    stubborn = "trap '' TERM; echo $$ >pid; while :; do sleep 0.1; done"
    service = Service(command=["sh", "-c", stubborn], ready=["test", "-s", "pid"])
    done = run(source(["sh", "-c", "cat pid; exit 3"], service), tmp_path)
    assert done.returncode == 3
    assert not Path(f"/proc/{int(done.stdout)}").exists()


def test_status_of_the_command_is_the_scripts(tmp_path: Path) -> None:
    assert run(source(["sh", "-c", "exit 7"], Service(command=["sleep", "60"])), tmp_path).returncode == 7


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(Service(command=["sh", "-c", "echo no disk; exit 1"], ready=["false"]), id="ends"),
        pytest.param(
            Service(command=["sh", "-c", "echo no disk; sleep 60"], ready=["false"], timeout_s=1), id="never ready"
        ),
        pytest.param(Service(command=["/nonexistent/no disk"], ready=["false"]), id="is missing"),
    ],
)
def test_service_that_does_not_start_is_told_from_a_failing_command(service: Service, tmp_path: Path) -> None:
    done = run(source(["true"], service), tmp_path)
    assert done.returncode == by_command.SERVICE_FAILED
    assert "service 0 failed:" in done.stdout
    assert "no disk" in done.stdout


def test_words_reach_the_command_as_they_are(tmp_path: Path) -> None:
    assert run(source(["printf", "%s|", "a b", "$HOME", "`id`", "it's"]), tmp_path).stdout == "a b|$HOME|`id`|it's|"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, ""),
        ({"Architecture": "amd64"}, ""),
        ({"Package": "Tool"}, "no package name"),
        ({"Version": "one"}, "no version"),
        ({"Version": "1 2"}, "no version"),
        ({"Architecture": "arm64"}, "for arm64, not for amd64"),
        ({"Maintainer": ""}, "no Maintainer"),
    ],
)
def test_what_is_wrong_with_a_package(fields: dict[str, str], says: str) -> None:
    problem = by_command.problem({**FIELDS, **fields}, "amd64")
    assert says in problem
    assert bool(says) == bool(problem)


def test_file_name_has_no_epoch() -> None:
    assert by_command.Deb(fields=FIELDS, content=b"", changes=[]).file_name == "tool_2.0-1~a+b_all.deb"


def test_package_of_one_build_alone_is_a_difference() -> None:
    deb = by_command.Deb(fields=FIELDS, content=b"", changes=[])
    assert by_command.compare([deb], []) == {"tool_2.0-1~a+b_all.deb": ["only in one of two builds"]}
    assert by_command.compare([deb], [deb]) == {}
