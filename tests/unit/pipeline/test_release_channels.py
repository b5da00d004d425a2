"""Channels: what they show, what they showed before, and what is left when whoever moves them is killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.channels import Channels

VERSIONS = ("1", "2", "3")
KILLS = 50


def good(folder: Path) -> None:
    assert (folder / "release.json").is_file()


@pytest.fixture
def channels(tmp_path: Path) -> Channels:
    for version in VERSIONS:
        (tmp_path / version).mkdir()
        (tmp_path / version / "release.json").write_text("{}")
    return Channels(tmp_path)


def test_nothing_is_shown_at_first(channels: Channels) -> None:
    assert (channels.current("stable"), channels.before("stable")) == ("", "")
    with pytest.raises(ReleaseError, match="has shown nothing before"):
        channels.rollback("stable")


def test_promoted_is_what_the_link_shows(channels: Channels) -> None:
    assert channels.promote("stable", "1", good) == ""
    assert channels.promote("stable", "2", good) == "1"
    assert (channels.folder / "stable" / "release.json").resolve() == channels.folder / "2" / "release.json"
    assert channels.current("testing") == ""


def test_rolled_back_one_by_one(channels: Channels) -> None:
    for version in VERSIONS:
        channels.promote("stable", version, good)
    assert channels.rollback("stable") == ("3", "2")
    assert channels.rollback("stable") == ("2", "1")
    with pytest.raises(ReleaseError):
        channels.rollback("stable")
    assert channels.current("stable") == "1"


def test_what_was_taken_back_is_no_longer_before(channels: Channels) -> None:
    for version in ("1", "2"):
        channels.promote("stable", version, good)
    channels.rollback("stable")
    channels.promote("stable", "3", good)
    assert channels.rollback("stable") == ("3", "1")


def test_promoted_twice_is_one_step(channels: Channels) -> None:
    for version in ("1", "2", "2"):
        channels.promote("stable", version, good)
    assert channels.rollback("stable") == ("2", "1")


@pytest.mark.parametrize("version", ["4", "stable", ".history", "..", ""])
def test_only_a_release_is_promoted(channels: Channels, version: str) -> None:
    channels.promote("stable", "1", good)
    with pytest.raises(ReleaseError, match="there is no release"):
        channels.promote("testing", version, good)
    assert channels.current("testing") == ""


@pytest.mark.parametrize("name", [".staging", ".removed-1"])
def test_what_a_killed_run_left_is_no_release(channels: Channels, name: str) -> None:
    (channels.folder / name).mkdir()
    (channels.folder / name / "release.json").write_text("{}")
    assert channels.versions() == list(VERSIONS)
    with pytest.raises(ReleaseError, match="there is no release"):
        channels.promote("stable", name, good)


def test_unknown_channel_is_named(channels: Channels) -> None:
    with pytest.raises(ReleaseError, match="there is no channel 'stabel'"):
        channels.promote("stabel", "1", good)
    with pytest.raises(ReleaseError, match="there is no channel"):
        channels.rollback("../x")


def test_what_does_not_verify_is_not_shown(channels: Channels) -> None:
    channels.promote("stable", "1", good)

    def bad(folder: Path) -> None:
        raise ReleaseError(f"{folder.name} does not verify")

    with pytest.raises(ReleaseError, match="2 does not verify"):
        channels.promote("stable", "2", bad)
    assert channels.current("stable") == "1"


def test_a_release_that_was_removed_is_not_gone_back_to(channels: Channels) -> None:
    for version in ("1", "2"):
        channels.promote("stable", version, good)
    (channels.folder / "1" / "release.json").unlink()
    with pytest.raises(ReleaseError, match="release 1 is no longer there"):
        channels.rollback("stable")
    assert channels.current("stable") == "2"


def in_another_process(action: Callable[[], None]) -> int:
    """Runs until it is killed."""
    child = os.fork()
    if child == 0:
        try:
            while True:
                action()
        finally:
            os._exit(1)
    return child


def test_killed_anywhere_it_shows_the_old_or_the_new(channels: Channels) -> None:
    """Fifty times; each time both channels show a whole release, and the way back is still known."""
    chance = random.Random(7)
    for channel in ("stable", "testing"):
        channels.promote(channel, "1", good)
        channels.promote(channel, "2", good)

    def move() -> None:
        channels.promote("stable", "3", good)
        channels.rollback("stable")
        channels.promote("testing", "3", good)
        channels.promote("testing", "2", good)

    for _ in range(KILLS):
        child = in_another_process(move)
        time.sleep(chance.uniform(0.001, 0.02))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        for channel in ("stable", "testing"):
            assert channels.current(channel) in ("2", "3")
            assert (channels.folder / channel / "release.json").is_file()
            assert channels.before(channel) in VERSIONS
