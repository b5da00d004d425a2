"""What a deployment's package (xwhep-server-conf) brings: settings, certificates, logins and join tokens.

FOLDER/server.toml   settings, below all others           FOLDER/admin.json   login and password hash
FOLDER/ca.pem        the authority, newest first          FOLDER/users.json   a list of more, each with a role
FOLDER/server.pem    the server's key, certificate and    FOLDER/join.json    join tokens, hashed
                     chain                                FOLDER/worker.join  the line that lets a worker in, to show

Each may be missing; then the server makes its own at the first start. Read whole before anything starts.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from xwhep.common.errors import UsageError
from xwhep.common.exposure import exposed
from xwhep.common.join import JoinLine, parse_join_line
from xwhep.server.authority_files import AuthorityFiles
from xwhep.server.checks import LOGIN
from xwhep.server.failures import SecretsExposed

AGAIN = "make the deployment's packages again, and install the new xwhep-server-conf"
_SECRETS = ("server.pem", "admin.json", "users.json", "join.json", "worker.join")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")

T = TypeVar("T")


class DeployedLogin(msgspec.Struct, frozen=True):
    login: str
    password_hash: str  # argon2id, with its parameters and salt
    role: str = "user"


class DeployedJoin(msgspec.Struct, frozen=True):
    id: str
    token_hash: str  # as identity.token_hash
    visibility: str = "public"  # "public" | "group"
    group: str = ""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What is None was not in the folder. The first login is the administrator's."""

    folder: Path
    authority: AuthorityFiles | None
    logins: tuple[DeployedLogin, ...] | None
    joins: tuple[DeployedJoin, ...] | None
    worker_line: JoinLine | None


def read_deployment(folder: Path) -> Deployment | None:
    """None when there is no such folder.

    Raises:
        UsageError: a file is damaged or cannot be read; names it.
        SecretsExposed: everybody on the machine can read a file; names it.
    """
    if not folder.is_dir():
        return None
    try:
        for name in _SECRETS:
            _refuse_exposed(folder / name)
        if (settings := folder / "server.toml").exists():
            settings.read_bytes()  # load_settings passes over what it may not read, for the sake of `version`
        return Deployment(
            folder=folder,
            authority=_authority(folder),
            logins=_logins(folder),
            joins=_joins(folder / "join.json"),
            worker_line=_worker_line(folder / "worker.join"),
        )
    except OSError as exc:
        raise UsageError(
            f"cannot read the deployment in {folder}: {exc}", "give its files to the user that runs the server"
        ) from exc


def _refuse_exposed(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if exposed(path):
            raise SecretsExposed(f"everybody on this machine can read the secret {path}", f"chmod 640 {path}")


def _authority(folder: Path) -> AuthorityFiles | None:
    files = AuthorityFiles(folder=folder)
    there = [path for path in (files.ca_pem, files.server_pem) if path.exists()]
    if not there:
        return None
    for path in (files.ca_pem, files.server_pem):
        if path not in there or "-----BEGIN CERTIFICATE-----" not in path.read_text("ascii", "replace"):
            raise UsageError(f"{path} holds no certificate", AGAIN)
    return files


def _logins(folder: Path) -> tuple[DeployedLogin, ...] | None:
    admin = _decoded(folder / "admin.json", DeployedLogin)
    others = _decoded(folder / "users.json", list[DeployedLogin])
    if admin is None:
        if others is not None:
            raise UsageError(f"{folder} has users.json and no admin.json", AGAIN)
        return None
    logins = (DeployedLogin(admin.login, admin.password_hash, "admin"), *(others or ()))
    for one in logins:
        good = LOGIN.fullmatch(one.login) and one.password_hash.startswith("$argon2id$")
        if not good or one.role not in ("admin", "user"):
            raise UsageError(f"{folder} has a login that cannot be used: {one.login!r}", AGAIN)
    if len({one.login for one in logins}) < len(logins):
        raise UsageError(f"{folder} has the same login twice", AGAIN)
    return logins


def _joins(path: Path) -> tuple[DeployedJoin, ...] | None:
    joins = _decoded(path, list[DeployedJoin])
    if joins is None:
        return None
    for one in joins:
        whose = (one.visibility, bool(one.group)) in (("public", False), ("group", True))
        if not (whose and _ID.fullmatch(one.id) and _HASH.fullmatch(one.token_hash)):
            raise UsageError(f"{path} has a join token that cannot be used: {one.id!r}", AGAIN)
    if len({one.id for one in joins}) < len(joins) or len({one.token_hash for one in joins}) < len(joins):
        raise UsageError(f"{path} has the same join token twice", AGAIN)
    return tuple(joins)


def _worker_line(path: Path) -> JoinLine | None:
    if not path.exists():
        return None
    try:
        return parse_join_line(path.read_text("ascii", "replace"))
    except UsageError as exc:
        raise UsageError(f"{path} holds no join line", AGAIN) from exc


def _decoded(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} is damaged: {exc}", AGAIN) from exc
