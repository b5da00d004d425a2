"""Which releases stay, and the removal of the others.

what a channel shows, and showed before (the last N) ─┐
versions that are tags ───────────────────────────────┼──> stay, each with its reason
the newest ───────────────────────────────────────────┘
all others ──> renamed to .removed-VERSION, in one step ──> deleted; what a killed run left, by the next one
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.channels import CHANNELS, Channels
from xwhep_packaging.store import remove_tree, sync

KEPT = 5
OF_NO_TAG = "~git"
REMOVED = ".removed-"
MEGABYTE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A release: `reasons` why it stays, none: it goes; `size` in bytes."""

    version: str
    size: int
    reasons: tuple[str, ...]


def judged(channels: Channels, keep: int) -> list[Judged]:
    """All releases, the newest first. `keep`: how many a channel keeps of those that it showed, with what it shows.

    Raises:
        ReleaseError: `keep` is less than 1.
    """
    if keep < 1:
        raise ReleaseError(f"keep={keep}: a channel keeps what it shows", next_step="keep=1 is the least")
    made = sorted(channels.versions(), key=lambda version: _made_at(channels, version), reverse=True)
    shown = {channel: channels.shown(channel)[::-1] for channel in CHANNELS}

    def reasons(version: str) -> tuple[str, ...]:
        places = {channel: versions.index(version) for channel, versions in shown.items() if version in versions}
        of_channels = [f"{'before in ' if place else ''}{name}" for name, place in places.items() if place < keep]
        newest = ["newest"] if version == made[0] else []
        return (*of_channels, *(["tagged"] if OF_NO_TAG not in version else []), *newest)

    return [Judged(version=one, size=_size(channels.folder / one), reasons=reasons(one)) for one in made]


def prune(channels: Channels, keep: int, *, dry: bool, say: Callable[[str], None]) -> None:
    """Say what stays and why, and remove the others, or with `dry` only say so.

    Raises:
        ReleaseError: see above.
    """
    releases = judged(channels, keep)
    width = max((len(one.version) for one in releases), default=0)
    for one in releases:
        say(f"{one.version:<{width}}  {', '.join(one.reasons) or ('would go' if dry else 'goes')}")
    going = [one for one in releases if not one.reasons]
    if not dry:
        _remove_leftovers(channels.folder)  # first: a version that goes again would meet itself
        for one in going:
            (channels.folder / one.version).rename(channels.folder / f"{REMOVED}{one.version}")
        sync(channels.folder)
        _remove_leftovers(channels.folder)
    verb = "would be removed" if dry else "removed"
    say(f"{len(going)} of {len(releases)} {verb}, {sum(one.size for one in going) / MEGABYTE:.1f} MB")


def _remove_leftovers(folder: Path) -> None:
    for left in sorted(folder.glob(f"{REMOVED}*")):
        remove_tree(left)


def _made_at(channels: Channels, version: str) -> int:
    return (channels.folder / version / "release.json").stat().st_mtime_ns


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
