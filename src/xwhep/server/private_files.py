"""Files that nobody else on the machine may read: refused when they lie open."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from xwhep.server.failures import SecretsExposed

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def refuse_exposed(folder: Path, secrets_in_it: Iterable[Path]) -> None:
    """Check the modes of what exists.

    Raises:
        SecretsExposed: another user can write the folder, or read one of the files; names it.
    """
    if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SecretsExposed(f"other users can write the state folder {folder}", f"chmod 700 {folder}")
    for path in secrets_in_it:
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            continue
        if mode & _OTHERS:
            raise SecretsExposed(
                f"other users can read the secret {path} (mode {stat.S_IMODE(mode):04o})", f"chmod 600 {path}"
            )
