"""Files that nobody else on the machine may read: written whole or not at all, and refused when they lie open."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from xwhep.server.failures import SecretsExposed

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` atomically by a file of mode 0600 that is on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
