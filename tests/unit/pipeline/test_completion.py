"""scripts/completion, in real shells: a name of a task is completed as far as it is the only one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shells import INSTALLED, completed

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = REPOSITORY / "scripts" / "completion"
TASKS = ("build", "debs", "debs:grid", "debs:star", "images:server", "network_test", "test:lint")
SETUP = {"bash": "", "zsh": "autoload -U compinit && compinit -D -u;", "fish": ""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a doit stands that lists some tasks, and nothing else."""
    doit = tmp_path / "doit"
    listed = "\\n".join(TASKS)
    doit.write_text(f'#!/bin/sh\n[ "$*" = "list --all --quiet" ] && printf "{listed}\\n"\n')
    doit.chmod(0o755)
    return tmp_path


def test_bash_is_there() -> None:
    assert "bash" in INSTALLED


TYPED = (
    ("net", "network_test"),
    ("images:s", "images:server"),
    ("debs:s", "debs:star"),
    ("build debs:g", "build debs:grid"),
    ("build --j", "build --json"),
)


@pytest.mark.parametrize("shell", INSTALLED)
@pytest.mark.parametrize(("typed", "expected"), TYPED)
def test_a_name_is_completed(folder: Path, shell: str, typed: str, expected: str) -> None:
    setup = f"{SETUP[shell]} source {FILES}/doit.{shell}"
    found = completed(shell, setup, f"{folder}/doit {typed}", folder)
    wanted = expected.rsplit(maxsplit=1)[-1] if shell == "fish" else f"{folder}/doit {expected}"
    assert found == [wanted]


def test_there_is_a_file_for_each_shell() -> None:
    assert sorted(path.name for path in FILES.iterdir()) == ["doit.bash", "doit.fish", "doit.zsh"]
