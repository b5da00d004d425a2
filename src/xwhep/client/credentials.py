"""Which server this user trusts, and as whom: by a join line, else the session, else the system-wide file."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from xwhep.common.durable import write_private
from xwhep.common.errors import AuthenticationFailed, UsageError

SESSION_FILE = "client.json"
SYSTEM_FILE = Path("/etc/xwhep/client.toml")
DEPLOYMENT = Path("/etc/xwhep/client-deployment")  # what the deployment's package xwhep-client-conf brings
_FILE_LIMIT_BYTES = 64 * 1024


class Credentials(NamedTuple):
    """`address` is https://HOST:PORT, `authority` its CA certificate (PEM), `token` goes into Authorization."""

    address: str
    authority: str
    token: str = ""
    login: str = ""

    def __repr__(self) -> str:  # tokens never reach a log by accident
        return f"Credentials({self.address}, {self.login})"


class SystemSettings(NamedTuple):
    """The system-wide file: where the grid is, how to know it, and for bound machines a join line's file."""

    address: str = ""
    authority: str = ""  # PEM text, read from the file that `authority` names
    join_file: str = ""


def folder() -> Path:
    """Where this user's session lives: $XWHEP_CLIENT_STATE, else xwhep below $XDG_CONFIG_HOME or ~/.config."""
    if chosen := os.environ.get("XWHEP_CLIENT_STATE"):
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "xwhep"


def find() -> Credentials:
    """The credentials to use now.

    Raises:
        AuthenticationFailed: there are none.
        UsageError: a file that holds them is damaged, or others can read it.
    """
    sources: tuple[Callable[[], Credentials | None], ...] = (
        _from_join_variable,  # XWHEP_JOIN=...
        _from_join_file,  # XWHEP_JOIN_FILE=...
        _from_session,  # xw login
        _from_system,  # join_file in /etc/xwhep/client.toml
    )
    for source in sources:
        found = source()
        if found and found.token:
            return found
    raise AuthenticationFailed("you are not logged in to a grid", "xw login --help shows the ways to")


def saved() -> Credentials | None:
    """What the last `xw login` left, without a token after `xw logout`.

    Raises:
        UsageError: the file is damaged, or others can read it.
    """
    path = folder() / SESSION_FILE
    text = read_secret(path, "xw login", missing_ok=True)
    if text is None:
        return None
    try:
        fields = json.loads(text)
        parts = [fields[name] for name in Credentials._fields]
    except (ValueError, KeyError, TypeError) as exc:
        raise UsageError(f"{path} is damaged", f"rm {path} && xw login") from exc
    if not all(isinstance(part, str) for part in parts):
        raise UsageError(f"{path} is damaged", f"rm {path} && xw login")
    return Credentials(*parts)


def save(credentials: Credentials) -> Path:
    """Write the session file (0600) so that a reader sees the old or the new one, never half of one."""
    path = folder() / SESSION_FILE
    _write_private(path, json.dumps(credentials._asdict(), indent=2) + "\n")
    return path


def from_join_text(text: str) -> Credentials:
    """Credentials from a join line. The authority is fetched once and kept; the fingerprint checks it every time.

    Raises:
        UsageError: no join line.
        ConnectionFailed, UntrustedCertificate: its server does not answer, or is another.
    """
    from xwhep.common.join import parse_join_line  # noqa: PLC0415 - most calls have a session and no join line

    line = parse_join_line(text)
    return Credentials(line.address, authority_of(line.address, line.fingerprint), line.token)


def authority_of(address: str, fingerprint: str) -> str:
    """The PEM with that fingerprint: kept from before, else fetched from `address`."""
    from xwhep.common import trust  # noqa: PLC0415

    kept = folder() / f"authority-{fingerprint.removeprefix('sha256:')[:32]}.pem"
    with contextlib.suppress(OSError, ValueError):
        pem = kept.read_text("ascii")
        if trust.fingerprint(pem) == fingerprint:
            return pem
    from xwhep.common.authority import fetch_authority  # noqa: PLC0415

    pem = fetch_authority(address, fingerprint)
    with contextlib.suppress(OSError):  # a read-only home costs one more request, no more
        _write_private(kept, pem)
    return pem


def system_settings() -> SystemSettings:
    """The system-wide file; what it leaves open as the deployment says; empty settings when there is neither.

    Raises:
        UsageError: a file cannot be read, or has unknown or mistyped names.
    """
    own = _settings_in(Path(os.environ.get("XWHEP_CLIENT_CONFIG") or SYSTEM_FILE))
    bound = _settings_in(Path(os.environ.get("XWHEP_CLIENT_DEPLOYMENT") or DEPLOYMENT) / "client.toml")
    if own.address not in ("", bound.address):  # another grid: the deployment's authority is not that one's
        return own
    return SystemSettings(*(mine or its for mine, its in zip(own, bound, strict=True)))


def _settings_in(path: Path) -> SystemSettings:
    import tomllib  # noqa: PLC0415 - only without a session

    try:
        table = tomllib.loads(path.read_text("utf-8"))
        fields = SystemSettings(**table)
        wrong = [name for name, value in table.items() if not isinstance(value, str)]
    except FileNotFoundError:
        return SystemSettings()
    except (ValueError, TypeError) as exc:
        raise UsageError(f"{path} is wrong: {exc}", f"it may set: {', '.join(SystemSettings._fields)}") from exc
    if wrong:
        raise UsageError(f"{path} is wrong: {', '.join(wrong)} must be text", f"edit {path}")
    pem = (path.parent / fields.authority).read_text("ascii", "replace") if fields.authority else ""
    join_file = str(path.parent / fields.join_file) if fields.join_file else ""
    return SystemSettings(fields.address, pem, join_file)


def read_secret(path: Path, remedy: str, missing_ok: bool = False) -> str | None:
    """The text of a small file that holds a secret; None when it is not there and `missing_ok`.

    Raises:
        UsageError: it is not there, or more users than its owner (and, for a file of root, its group) can read it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            # A package may install a file of root for one group; a user's own file is for the user alone.
            shared = stat.S_IRWXO if status.st_uid == 0 else stat.S_IRWXO | stat.S_IRWXG
            if stat.S_ISREG(status.st_mode) and status.st_mode & shared:
                raise UsageError(f"{path} holds a secret and others can read it", f"chmod 600 {path}")
            return file.read(_FILE_LIMIT_BYTES)
    except FileNotFoundError as exc:
        if missing_ok:
            return None
        raise UsageError(f"there is no file {path}", remedy) from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is damaged", remedy) from exc


def _from_join_variable() -> Credentials | None:
    text = os.environ.get("XWHEP_JOIN")
    return from_join_text(text) if text else None


def _from_join_file() -> Credentials | None:
    return _from_file(os.environ.get("XWHEP_JOIN_FILE", ""))


def _from_session() -> Credentials | None:
    return saved()


def _from_system() -> Credentials | None:
    return _from_file(system_settings().join_file)


def _from_file(path: str) -> Credentials | None:
    text = read_secret(Path(path), "xwhep-server join-line client, on the server, prints one") if path else None
    return from_join_text(text) if text else None


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, text.encode())
