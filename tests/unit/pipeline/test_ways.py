"""Every way to run a grid has a page and a test that goes by it; no build's verdict depends on them."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

import howto
from clones import REPOSITORY
from xwhep_packaging import settings

WAYS = REPOSITORY / "tests" / "network" / "ways"
ROW = re.compile(r"^\| .+ \| \[([\w-]+)\]\(howto/\1\.md\) \| `(test_\w+\.py)` \|$", re.M)
# Pages that start no grid: what goes in, what comes out, what is done with a grid that runs.
NO_WAY = {
    "administer",
    "bring-your-own-command",
    "bring-your-own-debian",
    "bring-your-own-stdeb",
    "jobs",
    "lock",
    "machines-that-give-less",
    "nightly",
    "release",
    "see",
    "understand",
    "verify",
}


def table() -> dict[str, str]:
    """Page -> its test, as the architecture's table has them."""
    rows = ROW.findall((REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert len(rows) == len(dict(rows))
    return dict(rows)


def test_every_page_is_a_way_or_is_known_to_be_none() -> None:
    ways = set(table())
    assert not ways & NO_WAY
    assert {path.stem for path in howto.PAGES.glob("*.md")} == ways | NO_WAY


@pytest.mark.parametrize(("page", "test"), table().items())
def test_the_test_of_a_way_names_its_page(page: str, test: str) -> None:
    assert f"docs/howto/{page}.md" in (WAYS / test).read_text(encoding="utf-8")


def test_every_test_is_that_of_a_way() -> None:
    assert {path.name for path in WAYS.glob("test_*.py")} == set(table().values())


def test_no_verdict_depends_on_them() -> None:
    ours = settings.load(REPOSITORY / "packaging" / "pipeline.toml").network_test
    folders = {path.parent for path in (REPOSITORY / ours.folder).rglob("test_*.py")} - {REPOSITORY / ours.folder}
    assert {str(folder.relative_to(REPOSITORY / ours.folder)) for folder in folders} == set(ours.apart) == {"ways"}


@pytest.mark.parametrize("environment", ["integration", "nightly"])
def test_they_are_run(environment: str) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(REPOSITORY / "tox.ini")
    words = parser[f"testenv:{environment}"]["commands"].split()
    assert {"tests/integration", "tests/network/ways"} <= set(words)


# Blocks of a page


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "page.md").write_text(
        "Text\n\n```\nrun grid grid-2 NAME\nend\n```\n\n```\nrun\n```\n\n```\nstop\n```\n"
    )
    monkeypatch.setattr(howto, "PAGES", tmp_path)
    return "page"


def test_a_block_is_given_with_a_persons_words(page: str) -> None:
    assert howto.block(page, "end", {"grid": "a", "grid-2": "b", "NAME": "c"}) == "run a b c\nend\n"
    assert howto.block(page, "stop") == "stop\n"


@pytest.mark.parametrize("begins", ["run", "start"], ids=["two", "none"])
def test_a_block_that_is_not_the_one_is_an_error(page: str, begins: str) -> None:
    with pytest.raises(AssertionError, match="blocks with a line that begins"):
        howto.block(page, begins)


def test_a_word_that_is_no_more_on_the_page_is_an_error(page: str) -> None:
    with pytest.raises(AssertionError, match="'VERSION' is not in"):
        howto.block(page, "end", {"VERSION": "1"})
