"""`xwhep-server backup` and `restore`."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from xwhep.common.durable import sync
from xwhep.common.errors import UsageError
from xwhep.server.settings import Settings, add_flags
from xwhep.server.state import StateFolder, explained
from xwhep.server.store.identity_records import Act
from xwhep.server.store.sqlite_database import transaction
from xwhep.server.store.sqlite_identity import note

STATE_FLAGS = frozenset({"state"})


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    backup = commands.add_parser(
        "backup",
        help="copy the whole state to one file, while the server runs",
        description="Copy the whole state to one file, while the server runs. It holds every key and login: keep it as "
        "you keep the server. What the deployment's package brings is not in it.",
    )
    backup.add_argument("file", metavar="FILE", help="- for standard output")
    add_flags(backup, STATE_FLAGS)
    backup.set_defaults(command=_backup)
    back = commands.add_parser(
        "restore",
        help="make the state what it was, from a backup",
        description="Make the state what it was when the backup was taken. The server must not run. A backup that was "
        "cut or changed is refused, and then nothing has changed.",
    )
    back.add_argument("file", metavar="FILE", help="- for standard input")
    back.add_argument("--force", action="store_true", help="replace the state that is there")
    add_flags(back, STATE_FLAGS)
    back.set_defaults(command=_restore)


def _backup(settings: Settings, arguments: argparse.Namespace) -> int:
    from xwhep.server.backup import write_backup  # noqa: PLC0415 - the other commands start faster without it

    folder = StateFolder(path=settings.state)
    with explained(settings.state):
        folder.database.stat()
    with _sink(arguments.file) as sink, explained(settings.state):
        made = write_backup(settings.state, sink)
    with explained(settings.state), transaction(folder.database) as tx:
        note(tx, Act(who="console", act="backup", subject=f"{made.size} bytes"))
    _say(f"saved {made.blobs} contents and the database, {made.size} bytes")
    if made.missing:
        _say(f"warning: {made.missing} contents that the database names are missing in {settings.state}")
    return 0


@contextmanager
def _sink(name: str) -> Iterator[IO[bytes]]:
    """The file takes its name when it is whole; nobody else may read it."""
    if name == "-":
        if sys.stdout.isatty():
            raise UsageError("a backup is not for the screen", "name a file, or send it to another program")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise UsageError(f"the backup cannot be written: {exc}", "choose another file") from exc
    try:
        with os.fdopen(descriptor, "wb", buffering=1024 * 1024) as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _restore(settings: Settings, arguments: argparse.Namespace) -> int:
    from xwhep.server.restore import restore  # noqa: PLC0415 - as above

    try:
        source = sys.stdin.buffer if arguments.file == "-" else Path(arguments.file).open("rb")  # noqa: SIM115
    except OSError as exc:
        raise UsageError(f"the backup cannot be read: {exc}", "name another file") from exc
    with source, explained(settings.state):
        os.umask(0o077)
        count = restore(settings.state, source, force=arguments.force)
    _say(f"restored {count} files into {settings.state}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201 - standard output may be the backup
