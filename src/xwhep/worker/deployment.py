"""What a deployment's package (xwhep-worker-conf) brings besides settings: how to join its grid.

FOLDER/worker.toml   settings, below all others (settings.py)
FOLDER/worker.join   a join line
FOLDER/ca.pem        the authority, newest first: all that may be trusted
"""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path

from xwhep.common.errors import NotAllowed, UsageError
from xwhep.common.exposure import exposed
from xwhep.common.join import JoinLine, parse_join_line
from xwhep.common.trust import context_trusting

AGAIN = "make the deployment's packages again, and install the new xwhep-worker-conf"


def read_deployment(folder: Path) -> JoinLine | None:
    """Its join line, with the authority when that is there; None when there is none.

    Raises:
        NotAllowed: everybody on the machine can read the line.
        UsageError: a file is damaged, or cannot be read; names it.
    """
    line, authority = folder / "worker.join", folder / "ca.pem"
    try:
        if exposed(line):
            raise NotAllowed(f"everybody on this machine can read the secret {line}", f"chmod 640 {line}")
        _check_readable(folder / "worker.toml")
        pem = _authority(authority) if authority.exists() else ""
        joined = _joined(line)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise UsageError(
            f"cannot read the deployment in {folder}: {exc}", "give its files to the user that runs the worker"
        ) from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"a file in {folder} is damaged: {exc}", AGAIN) from exc
    return dataclasses.replace(joined, authority=pem)


def _joined(file: Path) -> JoinLine:
    try:
        return parse_join_line(file.read_text("utf-8"))
    except UsageError as exc:
        raise UsageError(f"{file}: {exc}", AGAIN) from exc


def _check_readable(file: Path) -> None:
    # The settings were loaded before, without what only the worker's user may read: others may ask for its status.
    if file.exists():
        file.read_bytes()


def _authority(file: Path) -> str:
    pem = file.read_text("ascii")
    try:
        context_trusting(pem)
    except ssl.SSLError as exc:
        raise UsageError(f"{file} holds no certificate: {exc}", AGAIN) from exc
    return pem
