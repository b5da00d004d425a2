"""Shared assets: programs the owner of this machine installed and offers to jobs by name.

One file each in the shared folder, named *.toml:

    name = "blast"                          what an app names as `shared`
    command = ["/opt/blast/bin/blastn"]     argv; the job's arguments follow
    version = "2.16"                        optional, for people
    folders = ["/srv/blast/db"]             optional: more folders a job may read

An asset is announced while its command's executable exists.
"""

from __future__ import annotations

import logging
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
_KEYS = {"name", "command", "version", "folders"}


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One installed program; `executable` is absolute and existed when it was read."""

    name: str
    executable: Path
    arguments: tuple[str, ...] = ()
    version: str = ""
    folders: tuple[Path, ...] = ()


class Assets:
    """The shared folder, read again at every look, so that installing an asset needs no restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reported: set[str] = set()

    def installed(self) -> dict[str, Asset]:
        """Assets by name. A file that cannot be used is left out and logged once."""
        found: dict[str, Asset] = {}
        for file in sorted(self._folder.glob("*.toml")):
            try:
                asset = read_asset(file)
            except (OSError, ValueError) as exc:
                self._report(f"shared asset {file} left out: {exc}")
                continue
            found.setdefault(asset.name, asset)
        return found

    def _report(self, problem: str) -> None:
        if problem not in self._reported:
            self._reported.add(problem)
            log.warning("%s", problem)


def read_asset(file: Path) -> Asset:
    """The asset that `file` describes.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such description, or its executable is not there.
    """
    content = tomllib.loads(file.read_text("utf-8"))
    if unknown := sorted(set(content) - _KEYS):
        raise ValueError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    name, command = content.get("name"), _texts(content, "command")
    if not isinstance(name, str) or not name or not command:
        raise ValueError("it needs a name, and a command as a list of texts")
    executable = shutil.which(command[0])
    if not executable:
        raise ValueError(f"{command[0]} is not installed or not executable")
    return Asset(
        name=name,
        executable=Path(executable).absolute(),
        arguments=tuple(command[1:]),
        version=str(content.get("version", "")),
        folders=tuple(map(Path, _texts(content, "folders"))),
    )


def _texts(content: dict[str, Any], key: str) -> list[str]:
    value = content.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} is no list of texts")
    return value
