"""Whether a secret in a file lies open to everybody on the machine."""

from __future__ import annotations

import stat
from pathlib import Path


def exposed(path: Path) -> bool:
    """Others can change the file, or can read it and pass through its folder. Its group may be the role's own.

    Raises:
        FileNotFoundError, PermissionError
    """
    file, folder = path.stat().st_mode, path.parent.stat().st_mode
    return bool(file & stat.S_IWOTH or (file & stat.S_IROTH and folder & stat.S_IXOTH))
