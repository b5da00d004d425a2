"""The state folder: made at first start, checked at every start, used by one server at a time.

STATE/xwhep.db     users, workers, apps, data, jobs, small blobs  STATE/blobs/      large contents, by sha256
STATE/ca.key       the authority's key                             STATE/incoming/   uploads under way
STATE/ca.pem       its certificate, which everyone may know        STATE/lock        held by the running server
STATE/server.pem   the server's key and certificate                STATE/admin.login login and password, a line each
STATE/join.token   what workers enrol with

Where a deployment's package brings certificates and logins, those are used and none is made here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xwhep.common.durable import write_private
from xwhep.common.errors import DiskFull, XwhepError
from xwhep.server.authority import ensure_certificates
from xwhep.server.authority_files import AuthorityFiles
from xwhep.server.deployment import Deployment
from xwhep.server.failures import NotStartedYet, StateDamaged, StateInUse, StateNotWritable
from xwhep.server.identity import JOIN_TOKEN, hash_password, new_token
from xwhep.server.private_files import refuse_exposed
from xwhep.server.store.records import Account
from xwhep.server.store.sqlite_database import transaction
from xwhep.server.store.sqlite_people import add_user, list_users
from xwhep.server.store.sqlite_takeover import take_over

ADMIN = "admin"
PASSWORD_BYTES = 18


@dataclass(frozen=True, kw_only=True)
class StateFolder:
    """Where everything is."""

    path: Path
    deployment: Deployment | None = None

    @property
    def database(self) -> Path:
        return self.path / "xwhep.db"

    @property
    def authority(self) -> AuthorityFiles:
        return self._deployed_authority or AuthorityFiles(folder=self.path)

    @property
    def owns_authority(self) -> bool:
        """The authority's key is here, to sign with."""
        return self._deployed_authority is None

    @property
    def _deployed_authority(self) -> AuthorityFiles | None:
        return self.deployment.authority if self.deployment else None

    @property
    def admin(self) -> str:
        """The administrator that the deployment or the first start made."""
        return self.deployment.logins[0].login if self.deployment and self.deployment.logins else ADMIN

    @property
    def admin_login(self) -> Path:
        return self.path / "admin.login"

    @property
    def join_token(self) -> Path:
        return self.path / "join.token"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def restoring(self) -> Path:
        """Where a restore works."""
        return self.path / ".restore"

    @property
    def half_restored(self) -> bool:
        """A restore was cut short while it put the new in the place of the old."""
        return (self.restoring / "old").exists()

    def secrets(self) -> list[Path]:
        """Files that nobody else may read."""
        authority = AuthorityFiles(folder=self.path)
        return [self.database, authority.ca_key, authority.server_pem, self.admin_login, self.join_token]

    def read_secret(self, path: Path) -> str:
        """Raises: NotStartedYet, StateNotWritable."""
        with explained(self.path):
            refuse_exposed(self.path, [path])
            return path.read_text("ascii").strip()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system and SQLite say about the state folder into one sentence."""
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        raise _explain(path, exc) from exc


def _explain(path: Path, exc: OSError | sqlite3.Error) -> XwhepError:
    if isinstance(exc, FileNotFoundError):
        return NotStartedYet(f"there is no grid in {path} yet", "start it with: xwhep-server run (or name its --state)")
    full = isinstance(exc, OSError) and exc.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return DiskFull(f"the disk of {path} is full", "free space there")
    if getattr(exc, "sqlite_errorcode", 0) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StateDamaged(f"the database in {path} is damaged: {exc}", "restore it from a backup")
    return StateNotWritable(
        f"cannot work in the state folder {path}: {exc}", "run as its owner, or choose another with --state"
    )


@contextmanager
def opened_state(folder: StateFolder, names: frozenset[str]) -> Iterator[StateFolder]:
    """The folder, complete, and locked for this process alone until the end.

    Raises:
        StateNotWritable, SecretsExposed, StateInUse, StateTooNew, StateDamaged, DiskFull
    """
    os.umask(0o077)
    path = folder.path
    with explained(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_exposed(path, folder.secrets())
    with locked(folder):
        if folder.half_restored:
            raise StateDamaged(f"a restore of {path} was cut short", "run it again: xwhep-server restore FILE")
        with explained(path):
            if folder.restoring.exists():  # of a restore that was killed before it changed anything
                shutil.rmtree(folder.restoring)
            if folder.owns_authority:
                ensure_certificates(folder.authority, names)
            _ensure_join_token(folder)
            _ensure_admin(folder)
        yield folder


@contextmanager
def locked(folder: StateFolder) -> Iterator[None]:
    """No other server, and no restore, works on the folder meanwhile. Raises: StateInUse, StateNotWritable."""
    with explained(folder.path):
        descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, folder.path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StateInUse(f"another server works on {path}", "stop it first, or choose another --state") from None


def _ensure_join_token(folder: StateFolder) -> None:
    if not folder.join_token.exists():
        write_private(folder.join_token, f"{new_token(JOIN_TOKEN)}\n".encode())


def _ensure_admin(folder: StateFolder) -> None:
    with transaction(folder.database) as tx:
        if folder.deployment is not None:
            take_over(tx, folder.deployment)
        if list_users(tx):
            return
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        # The file first: after a crash in between there is still no user, and both are made again.
        write_private(folder.admin_login, f"{ADMIN}\n{password}\n".encode())
        add_user(tx, Account(login=ADMIN, role="admin", password_hash=hash_password(password)))
