"""Pausing, draining and resuming a running worker: a socket in its state folder that only its user, and root, can use.

What was asked for is kept in a file, so that a restart of the machine does not undo a pause.

    working    takes jobs
    paused     takes no jobs; those it has go on
    draining   takes no jobs; when those it has are delivered it is drained, and may be stopped without loss
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from xwhep.common.durable import write_private
from xwhep.common.errors import ConnectionFailed, NotAllowed, ServerFailed
from xwhep.worker.flag import Flag, wait_any

log = logging.getLogger(__name__)

SOCKET_FILE, MODE_FILE = "control.sock", "mode"
_ANSWER_S = 5.0
_ADDRESS_BYTES = 107  # of a socket's file, as the kernel takes it
_LINE_BYTES = 64


class Mode(enum.StrEnum):
    """What the owner of this machine asked for."""

    WORKING = "working"
    PAUSED = "paused"
    DRAINING = "draining"


def stored_mode(state: Path) -> Mode:
    """The mode that was asked for last; WORKING when none ever was."""
    try:
        return Mode((state / MODE_FILE).read_text("utf-8").strip())
    except (OSError, ValueError):
        return Mode.WORKING


class Control:
    """Listens from its making; `run` is the body of its thread. `change` is called with each new mode."""

    def __init__(self, state: Path, change: Callable[[Mode], None]) -> None:
        self._state, self._change = state, change
        self._file = state / SOCKET_FILE
        self._file.unlink(missing_ok=True)  # of an earlier life: the lock of the state folder is ours
        self._listener = socket.socket(socket.AF_UNIX)
        with _near(self._file) as address:
            self._listener.bind(address)
        self._file.chmod(0o600)
        self._listener.listen(4)

    def run(self, stop: Flag) -> None:
        """Until `stop` is set; then nobody can connect any more."""
        while not stop.is_set():
            if self._listener.fileno() in wait_any([self._listener.fileno(), stop.fileno()]):
                with contextlib.suppress(OSError):  # whoever asked has gone
                    self._answer()
        self._listener.close()
        self._file.unlink(missing_ok=True)

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(1.0)
            # Read first: a socket that is closed with something unread in it loses the answer.
            asked = connection.recv(_LINE_BYTES).decode("ascii", "replace").strip()
            if _user_of(connection) not in (0, os.geteuid()):
                connection.sendall(b"error not for this user\n")
                return
            try:
                mode = Mode(asked)
            except ValueError:
                connection.sendall(b"error no such mode\n")
                return
            connection.sendall(self._enter(mode))

    def _enter(self, mode: Mode) -> bytes:
        try:
            write_private(self._state / MODE_FILE, f"{mode}\n".encode())
        except OSError as exc:
            return f"error it cannot be kept: {exc}\n".encode()
        self._change(mode)
        log.info("asked to be %s", mode)
        return b"ok\n"


def ask(state: Path, mode: Mode) -> None:
    """Tell the running worker of this state folder; it obeys before this returns.

    Raises:
        ConnectionFailed: none runs.
        NotAllowed: this user may not tell it anything.
        ServerFailed: it could not.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection, _near(state / SOCKET_FILE) as address:
            connection.settimeout(_ANSWER_S)
            connection.connect(address)
            connection.sendall(f"{mode}\n".encode())
            answer = connection.recv(1024).decode("utf-8", "replace").strip()
    except PermissionError as exc:
        raise NotAllowed(
            f"user {os.geteuid()} may not control the worker of {state}", "run it as root or as the worker's user"
        ) from exc
    except OSError as exc:
        raise ConnectionFailed(
            f"no worker runs with the state folder {state}", "start it: systemctl start xwhep-worker"
        ) from exc
    if answer != "ok":
        raise ServerFailed(f"the worker did not obey: {answer.removeprefix('error ') or 'it ended'}")


@contextlib.contextmanager
def _near(file: Path) -> Iterator[str]:
    """An address of a socket's file that is short whatever the folder is. A root file system may be without /proc."""
    if len(os.fsencode(file)) <= _ADDRESS_BYTES:
        yield str(file)
        return
    folder = os.open(file.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{file.name}"
    finally:
        os.close(folder)


def _user_of(connection: socket.socket) -> int:
    layout = struct.Struct("3i")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    return int(layout.unpack(credentials)[1])
