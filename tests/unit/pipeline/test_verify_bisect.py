"""The first commit that gives other bytes: git chooses, earlier verdicts count, and no answer is no guess."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from xwhep_packaging import settings
from xwhep_packaging.errors import VerifyError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.store import Store
from xwhep_packaging.verify import bisect
from xwhep_packaging.verify.bisect import Bisection, Search

COMMITS = 12
LEAK = 7  # from this commit on the source differs


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Commit n writes n into src/number, or, for every third, into docs/note."""
    folder = tmp_path / "repository"
    for name in ("src", "docs"):
        (folder / name).mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number in range(COMMITS):
        (folder / ("docs/note" if number % 3 == 2 else "src/number")).write_text(f"{number}\n")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", f"--message=number {number}")
    return folder


@pytest.fixture
def commits(repository: Path) -> list[str]:
    return git(repository, "rev-list", "--reverse", "main").split()


class Tried:
    """A trial that looks at the work tree, as a build would; `broken`: numbers that do not build."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        self.numbers: list[int] = []
        self.broken = broken

    def __call__(self, clone: Path, variation: str) -> bool | None:
        number = int((clone / "src" / "number").read_text())
        self.numbers.append(number)
        return None if number in self.broken else number < LEAK


def search(repository: Path, trial: Tried, good: str = "", **more: tuple[str, ...]) -> Bisection:
    wanted = Search(repository=repository, variation="timezone", good=good, **more)
    return Bisection(clone=repository, search=wanted, trial=trial, say=lambda line: None)


def test_the_first_commit_is_found(repository: Path, commits: list[str]) -> None:
    trial = Tried()
    assert search(repository, trial, commits[0]).run({}) == commits[LEAK]
    assert len(trial.numbers) <= 6  # both ends and log2 of what lies between


def test_commits_that_decide_no_byte_are_not_tried(repository: Path, commits: list[str]) -> None:
    trial = Tried()
    assert search(repository, trial, commits[0], paths=("src",)).run({}) == commits[LEAK]
    assert len(trial.numbers) == len(set(trial.numbers))


def test_what_was_found_before_is_not_tried_again(repository: Path, commits: list[str]) -> None:
    trial = Tried()
    known = {commit: number < LEAK for number, commit in enumerate(commits)}
    assert search(repository, trial).run(known) == commits[LEAK]
    assert trial.numbers == []


def test_the_newest_known_good_commit_is_taken(repository: Path, commits: list[str]) -> None:
    trial = Tried()
    assert search(repository, trial).run({commits[1]: True, commits[LEAK - 1]: True}) == commits[LEAK]
    assert LEAK - 1 not in trial.numbers


def test_a_commit_that_does_not_build_is_passed_over(repository: Path, commits: list[str]) -> None:
    assert search(repository, Tried(broken=(3, 4)), commits[0]).run({}) == commits[LEAK]


def test_no_guess_where_it_cannot_be_told(repository: Path, commits: list[str]) -> None:
    with pytest.raises(VerifyError, match="cannot be told") as caught:
        search(repository, Tried(broken=(6, 7, 9)), commits[0]).run({})
    assert commits[LEAK] in caught.value.cause


@pytest.mark.parametrize(
    ("good", "words"),
    [
        pytest.param(-1, "is not identical", id="the good end is bad"),
        pytest.param("nonsense", "there is no commit 'nonsense'", id="no such commit"),
        pytest.param("", "no commit is known", id="none is known"),
    ],
)
def test_ends_that_are_none(repository: Path, commits: list[str], good: int | str, words: str) -> None:
    named = commits[good] if isinstance(good, int) else good
    with pytest.raises(VerifyError, match=words):
        search(repository, Tried(), named).run({})


def test_nothing_to_look_for(repository: Path, commits: list[str]) -> None:
    git(repository, "checkout", "--quiet", "--detach", commits[LEAK - 2])
    with pytest.raises(VerifyError, match="is not different") as caught:
        search(repository, Tried(), commits[0]).run({})
    assert caught.value.next_step == "there is nothing to look for"


def test_verdicts_are_remembered(tmp_path: Path) -> None:
    bisect.remember(tmp_path, "a", ["timezone", "umask"], identical=True)
    bisect.remember(tmp_path, "b", ["timezone", "umask"], identical=False)  # which of the two?
    bisect.remember(tmp_path, "c", ["timezone"], identical=False)
    assert bisect.known_verdicts(tmp_path, "timezone") == {"a": True, "c": False}
    assert bisect.known_verdicts(tmp_path, "path") == {}


@pytest.fixture(scope="module")
def own() -> Pipeline:
    loaded = settings.load(settings.repository_of(Path(__file__)) / "packaging" / "pipeline.toml", {})
    return Pipeline(loaded, Store(loaded.store_folder))


def test_unknown_variation(own: Pipeline) -> None:
    with pytest.raises(VerifyError, match="no variation 'moon'") as caught:
        bisect.bisect(own, "moon", "", print)
    assert "timezone" in caught.value.next_step


def test_paths_that_decide_a_byte(own: Pipeline) -> None:
    paths = bisect.deciding_paths(own)
    assert {"src", "debian", "pyproject.toml", "images/server", "packaging", "examples/nbody"} <= set(paths)
    assert not {"docs", "tests"} & set(paths)
