"""Which release a channel shows: a link, replaced in one step.

    RELEASES/11.0.0/   RELEASES/11.1.0/        releases, whole and never changed
    RELEASES/stable -> 11.1.0                  what people install from
    RELEASES/.history/stable                   what it showed before, one version a line, the last the newest

The link is the truth: a history that names one release too many is read up to what the link shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.store import sync, write_durably

CHANNELS = ("nightly", "testing", "stable")


@dataclass(frozen=True)
class Channels:
    """Those of one folder of releases."""

    folder: Path

    def current(self, channel: str) -> str:
        """The version that a channel shows; empty: none yet."""
        link = self._link(channel)
        return str(link.readlink()) if link.is_symlink() else ""

    def before(self, channel: str) -> str:
        """The version that a channel showed before; empty: none."""
        shown = self.shown(channel)
        return shown[-2] if len(shown) > 1 else ""

    def promote(self, channel: str, version: str, check: Callable[[Path], None]) -> str:
        """Show `version`, once `check` finds nothing wrong with it; returns what was shown before.

        Raises:
            ReleaseError: no such channel or release.
        """
        old = self.current(channel)
        check(self.release(version))
        if version != old:
            self._switch(channel, [*self.shown(channel), version])
        return old

    def rollback(self, channel: str) -> tuple[str, str]:
        """Show again what was shown before; returns (what was shown, what is shown now).

        Raises:
            ReleaseError: no such channel, or nothing was shown before.
        """
        old, new = self.current(channel), self.before(channel)
        if not new:
            raise ReleaseError(
                f"channel {channel} has shown nothing before {old or 'anything'}",
                next_step="scripts/doit promote channel=NAME version=VERSION shows any release that is there",
            )
        if not (self.folder / new / "release.json").is_file():
            raise ReleaseError(f"release {new} is no longer there", next_step="scripts/doit promote shows another")
        self._switch(channel, self.shown(channel)[:-1])
        return old, new

    def release(self, version: str) -> Path:
        """The folder of a release that is made.

        Raises:
            ReleaseError: there is no such release.
        """
        if version not in self.versions():
            there = ", ".join(self.versions()) or "none"
            raise ReleaseError(
                f"there is no release {version!r}", cause=f"made: {there}", next_step="scripts/doit release"
            )
        return self.folder / version

    def versions(self) -> list[str]:
        """Of all releases that are made; one that is staged, or removed, is none."""
        folders = [path.parent for path in self.folder.glob("[!.]*/release.json")]
        return sorted(folder.name for folder in folders if not folder.is_symlink())

    def shown(self, channel: str) -> list[str]:
        """What a channel showed, the last is what it shows now."""
        current, file = self.current(channel), self.folder / ".history" / channel
        lines = file.read_text(encoding="utf-8").split() if file.is_file() else []
        while lines and lines[-1] != current:
            lines.pop()
        return lines or [current] * bool(current)

    def _switch(self, channel: str, history: list[str]) -> None:
        file = self.folder / ".history" / channel
        file.parent.mkdir(exist_ok=True)
        # A rollback shortens the history only after the link says so: `before` of a longer one would be what is shown.
        known = self.shown(channel)
        if len(history) > len(known):
            write_durably(file, "".join(f"{line}\n" for line in history).encode())
        link, new = self._link(channel), self.folder / f".{channel}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(history[-1])
        new.replace(link)
        sync(self.folder)
        if len(history) <= len(known):
            write_durably(file, "".join(f"{line}\n" for line in history).encode())

    def _link(self, channel: str) -> Path:
        if channel not in CHANNELS:
            raise ReleaseError(f"there is no channel {channel!r}", next_step=f"one of {', '.join(CHANNELS)}")
        return self.folder / channel
