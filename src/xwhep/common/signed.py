"""What the signature of an app is over. Client, server and worker must agree on each byte of it."""

from __future__ import annotations

from xwhep.common.wire import Binary

MARK = "xwhep-app-1"


def signed_message(app: str, binary: Binary) -> bytes:
    """For one binary of the app: its name, for which machines, and the hash of the content."""
    return "\0".join((MARK, app, binary.os, binary.arch, binary.sha256)).encode()
