"""Which releases stay: what is shown or was lately, what is tagged, the newest; nothing else, and nothing by halves."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release import retention
from xwhep_packaging.release.channels import Channels

GIT = "1.1~git2026112{}.0800+abcdef0"
KILLS = 20


def release(folder: Path, version: str, number: int) -> str:
    """One of 1 MB, made at a time of its own."""
    (folder / version / "apt").mkdir(parents=True)
    (folder / version / "apt" / "file").write_bytes(bytes(1_000_000))
    (folder / version / "release.json").write_text("{}")
    os.utime(folder / version / "release.json", (number, number))
    return version


@pytest.fixture
def channels(tmp_path: Path) -> Channels:
    """A tagged one and six that are not, made in this order; nightly showed all but the last two, stable the first."""
    found = Channels(tmp_path)
    versions = [release(tmp_path, name, n) for n, name in enumerate(["1.0", *map(GIT.format, range(6))], 1)]
    for version in versions[:5]:
        found.promote("nightly", version, lambda folder: None)
    found.promote("stable", versions[1], lambda folder: None)
    return found


def reasons(channels: Channels, keep: int) -> list[tuple[str, ...]]:
    """From the newest to the oldest."""
    return [one.reasons for one in retention.judged(channels, keep)]


def test_each_that_stays_has_its_reason(channels: Channels) -> None:
    assert reasons(channels, 2) == [
        ("newest",),
        (),
        ("nightly",),
        ("before in nightly",),
        (),
        ("stable",),
        ("tagged",),
    ]
    assert reasons(channels, 5)[-1] == ("before in nightly", "tagged")


def test_a_dry_run_says_it_and_removes_nothing(channels: Channels) -> None:
    before, said = channels.versions(), list[str]()
    retention.prune(channels, 1, dry=True, say=said.append)
    assert channels.versions() == before
    assert said[-1] == "3 of 7 would be removed, 3.0 MB"
    assert sum(line.endswith("would go") for line in said) == 3


def test_what_is_referenced_stays_and_the_others_go(channels: Channels) -> None:
    said: list[str] = []
    retention.prune(channels, 1, dry=False, say=said.append)
    assert channels.versions() == ["1.0", GIT.format(0), GIT.format(3), GIT.format(5)]
    assert (channels.current("nightly"), channels.current("stable")) == (GIT.format(3), GIT.format(0))
    assert said[-1] == "3 of 7 removed, 3.0 MB"
    with pytest.raises(ReleaseError, match="is no longer there"):
        channels.rollback("nightly")
    retention.prune(channels, 1, dry=False, say=said.append)
    assert said[-1] == "0 of 4 removed, 0.0 MB"


def test_back_as_many_steps_as_were_kept(channels: Channels) -> None:
    retention.prune(channels, 3, dry=False, say=lambda line: None)
    assert [channels.rollback("nightly")[1] for _ in range(2)] == [GIT.format(2), GIT.format(1)]


@pytest.mark.parametrize("keep", [0, -1])
def test_what_is_shown_can_never_go(channels: Channels, keep: int) -> None:
    with pytest.raises(ReleaseError, match="a channel keeps what it shows"):
        retention.prune(channels, keep, dry=False, say=lambda line: None)


def test_none_made_none_removed(tmp_path: Path) -> None:
    said: list[str] = []
    retention.prune(Channels(tmp_path), 5, dry=False, say=said.append)
    assert said == ["0 of 0 removed, 0.0 MB"]


def test_killed_anywhere_each_is_whole_or_gone(channels: Channels) -> None:
    going = [GIT.format(number) for number in (1, 2, 4)]
    for number in range(KILLS):
        child = os.fork()
        if child == 0:
            retention.prune(channels, 1, dry=False, say=lambda line: None)
            os._exit(0)
        time.sleep(0.0005 * number)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for version in [*channels.versions(), channels.current("nightly"), channels.current("stable")]:
            assert (channels.folder / version / "apt" / "file").stat().st_size == 1_000_000
        for version in {*going} - {*channels.versions()}:
            assert not (channels.folder / version).exists()
            release(channels.folder, version, 1 + going.index(version))
    retention.prune(channels, 1, dry=False, say=lambda line: None)
    assert not list(channels.folder.glob(".removed-*"))
