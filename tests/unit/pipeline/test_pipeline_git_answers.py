"""What git said: asked once a run; what a full commit says is kept for the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workshop import git
from xwhep_packaging import git_answers
from xwhep_packaging.errors import SourceError
from xwhep_packaging.git_answers import KEPT, Answers


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "file").write_text("one")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=one")
    return folder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The words of each process."""
    seen: list[list[str]] = []
    run = git_answers.command.run

    def counted(command: Any, **more: Any) -> Any:
        seen.append([str(word) for word in command.argv])
        return run(command, **more)

    monkeypatch.setattr(git_answers.command, "run", counted)
    return seen


def test_one_run_asks_once_and_the_next_one_anew(repository: Path, calls: list[list[str]]) -> None:
    answers = Answers()
    first = answers.perhaps(repository, "rev-parse", "HEAD")
    git(repository, "commit", "--quiet", "--allow-empty", "--message=two")
    assert answers.perhaps(repository, "rev-parse", "HEAD") == first, "a commit made meanwhile changes nothing half-way"
    assert len(calls) == 1
    assert Answers().perhaps(repository, "rev-parse", "HEAD") != first


def test_what_a_commit_says_is_kept_for_the_next_run(repository: Path, tmp_path: Path, calls: list[list[str]]) -> None:
    words = ("ls-tree", git(repository, "rev-parse", "HEAD"))
    said = [Answers(tmp_path / "memory").fixed(repository, *words) for _ in range(2)]
    assert said[0] == said[1]
    assert said[0].endswith("\tfile\n")
    assert len(calls) == 1


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"', "\0"])
def test_a_damaged_memory_is_as_good_as_none(repository: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "memory").write_text(content)
    said = Answers(tmp_path / "memory").fixed(repository, "ls-tree", git(repository, "rev-parse", "HEAD"))
    assert said.endswith("\tfile\n")


def test_a_memory_that_cannot_be_written_harms_nobody(repository: Path, tmp_path: Path) -> None:
    answers = Answers(tmp_path / "missing" / "memory")
    assert answers.fixed(repository, "ls-tree", git(repository, "rev-parse", "HEAD"))


def test_memory_is_bounded(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(tmp_path / "memory")
    monkeypatch.setattr(answers, "ask", lambda repository, *words: words[0])
    for number in range(KEPT + 5):
        answers.fixed(repository, str(number))
    kept = Answers(tmp_path / "memory")
    monkeypatch.setattr(kept, "ask", lambda repository, *words: "asked again")
    assert kept.fixed(repository, "0") == "asked again"
    assert kept.fixed(repository, str(KEPT + 4)) == str(KEPT + 4)


def test_a_failing_git_is_an_error_or_none(repository: Path) -> None:
    assert Answers().perhaps(repository, "rev-parse", "--verify", "nowhere") is None
    with pytest.raises(SourceError):
        Answers().once(repository, "rev-parse", "--verify", "nowhere")


def test_what_is_asked_ahead_is_asked_once(repository: Path, calls: list[list[str]]) -> None:
    answers = Answers()
    for _ in range(2):
        answers.ahead(repository, "status", "--porcelain")
    (repository / "file").write_text("two")
    assert answers.once(repository, "rev-parse", "--is-bare-repository") == "false\n"
    first = answers.once(repository, "status", "--porcelain")
    answers.ahead(repository, "status", "--porcelain")
    assert answers.once(repository, "status", "--porcelain") == first
    assert len(calls) == 2


def test_an_error_ahead_comes_up_where_the_answer_is_wanted(repository: Path) -> None:
    answers = Answers()
    answers.ahead(repository, "no-such-command")
    with pytest.raises(SourceError, match="git failed"):
        answers.once(repository, "no-such-command")
