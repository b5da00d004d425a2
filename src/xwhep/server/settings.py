"""Every setting of the server, declared once: its default, environment variable, flag, TOML key and help.

Precedence: flag, then environment, then the TOML file, then the deployment's file, then the default. A field
`lease_seconds` is the flag --lease-seconds, the variable XWHEP_SERVER_LEASE_SECONDS and the TOML key lease_seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xwhep.common.errors import UsageError
from xwhep.common.wire import DEFAULT_PORT

DEFAULT_CONFIG = Path("/etc/xwhep/server.toml")
ENV_PREFIX = "XWHEP_SERVER_"
MEBIBYTE = 1024 * 1024


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError("must be more than 0")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError("must not be negative")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("must be at least 1")
    return value


def _size(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError("must be true or false")
    return text.lower() in ("true", "1", "yes")


def _format(text: str) -> str:
    if text not in ("text", "json"):
        raise ValueError("must be text or json")
    return text


def _metrics(text: str) -> str:
    if text not in ("loopback", "token"):
        raise ValueError("must be loopback or token")
    return text


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if not all(char.isalnum() or char in "-.:_" for char in name):
            raise ValueError(f"{name!r} is no host name")
    return names


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be ADDRESS:PORT")
    host = host.strip("[]")
    return "" if host == "::" else host, int(port)  # "[::]" is IPv4 too for most programs, so here as well


def _setting(default: Any, parse: Callable[[str], Any], text: str) -> Any:
    return dataclasses.field(default=default, metadata={"parse": parse, "help": text})


@dataclass(frozen=True, kw_only=True)
class Settings:
    state: Path = _setting(  # noqa: RUF009 - it is dataclasses.field with our metadata
        Path("/var/lib/xwhep-server"), Path, "folder of the database, the blobs and the keys (made when missing)"
    )
    listen: tuple[str, int] = _setting(
        ("", DEFAULT_PORT), _listen, "[ADDRESS]:PORT to listen at; without an address at all of IPv4 and IPv6"
    )
    name: tuple[str, ...] = _setting(
        (), _names, "names that workers and clients reach this server by, with commas; the first goes into join lines"
    )
    lease_seconds: float = _setting(
        15.0,
        _positive,
        "how long a worker may be silent before its job runs elsewhere; it is told to come thrice as often",
    )
    restart_grace_seconds: float = _setting(
        60.0,  # a container that restarts may be out of its neighbours' reach for 41 s (podman 4.3, measured)
        _positive,
        "how long, after a restart, running jobs wait for their workers to come back",
    )
    lost_limit: int = _setting(3, _count, "a job fails when that many of its workers were lost")
    back_off_seconds: float = _setting(
        5.0, _positive, "how long a job that was lost twice waits before it runs again; doubles with each loss"
    )
    wall_clock_hours: float = _setting(6.0, _positive, "how long a job may run that does not say it itself")
    overrun_seconds: float = _setting(
        60.0, _positive, "how long after its wall clock limit a job is given up that its worker did not stop"
    )
    quarantine_after: int = _setting(5, _count, "a worker that fails that many jobs in a row gets none for a while")
    quarantine_seconds: float = _setting(60.0, _positive, "for how long; doubles each time in a row")
    heartbeat_rate: float = _setting(
        200.0, _positive, "heartbeats a second of all workers together; more workers come less often"
    )
    result_days: float = _setting(0.0, _not_negative, "jobs are deleted so long after they ended; 0 keeps them")
    unused_blob_hours: float = _setting(24.0, _positive, "uploads that nothing names are deleted after that")
    session_hours: float = _setting(12.0, _positive, "how long a login lasts")
    disk_reserve_mb: int = _setting(512, _size, "MiB of disk that uploads leave free")
    log_format: str = _setting("text", _format, "text or json, one line for each event, on standard error")
    metrics: str = _setting(
        "loopback", _metrics, "loopback or token: whether /metrics is open to this machine, or always wants an admin's"
    )
    access_log: bool = _setting(False, _flag, "true logs every request")
    discovery: bool = _setting(
        False, _flag, "true answers workers and clients on this network that look for a name of this server (UDP)"
    )
    deployment: Path = _setting(  # noqa: RUF009 - as above
        Path("/etc/xwhep/server-deployment"), Path, "folder of what the deployment's package brings, when it exists"
    )

    @property
    def disk_reserve_bytes(self) -> int:
        return self.disk_reserve_mb * MEBIBYTE


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}


def env_name(field: str) -> str:
    return ENV_PREFIX + field.upper()


def add_flags(parser: argparse.ArgumentParser, only: frozenset[str] = frozenset(FIELDS)) -> None:
    """One flag for each setting named in `only`, and --config."""
    parser.add_argument("--config", metavar="FILE", help=f"TOML settings (default {DEFAULT_CONFIG} when it exists)")
    for name, field in FIELDS.items():
        if name in only:
            text = f"{field.metadata['help']} (default {_shown(field.default)}; environment {env_name(name)})"
            parser.add_argument("--" + name.replace("_", "-"), metavar="VALUE", help=text.replace("%", "%%"))


def _shown(default: Any) -> str:
    if default == ():
        return "the host name"
    return ":".join(map(str, default)) if isinstance(default, tuple) else str(default)


def load_settings(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Settings:
    """The settings that hold, and nothing half-read.

    Raises:
        UsageError: an unknown key, or a value that does not fit; names where it was read.
    """
    texts = _from_file(flags.get("config") or environ.get(ENV_PREFIX + "CONFIG"))
    # Unknown XWHEP_SERVER_* variables are no error: Kubernetes makes XWHEP_SERVER_PORT and others for a service's name.
    texts.update({name: (environ[env_name(name)], env_name(name)) for name in FIELDS if env_name(name) in environ})
    for name in FIELDS:
        if (value := flags.get(name)) is not None:
            texts[name] = (value, "--" + name.replace("_", "-"))
    folder = Path(texts["deployment"][0]) if "deployment" in texts else Settings.deployment
    texts = _from_deployment(folder / "server.toml") | texts
    return Settings(**{name: _parse(name, text, origin) for name, (text, origin) in texts.items()})


def _parse(name: str, text: str, origin: str) -> Any:
    try:
        return FIELDS[name].metadata["parse"](text)
    except ValueError as exc:
        raise UsageError(f"{origin} has the value {text!r}: {exc}", "see: xwhep-server run --help") from exc


def _from_deployment(path: Path) -> dict[str, tuple[str, str]]:
    try:
        texts = _read(path)
    except (FileNotFoundError, PermissionError):  # `version` is for everyone; `run` says what it cannot read
        return {}
    if "deployment" in texts:
        raise UsageError(f"{path} has the setting 'deployment', which says where it is itself", "take it out")
    return texts


def _from_file(named: str | None) -> dict[str, tuple[str, str]]:
    try:
        return _read(Path(named) if named else DEFAULT_CONFIG)
    except FileNotFoundError:
        if not named:
            return {}
        raise UsageError(f"there is no settings file {named}", "check --config") from None
    except PermissionError as exc:
        raise UsageError(f"cannot read the settings: {exc}", "correct the file's rights") from exc


def _read(path: Path) -> dict[str, tuple[str, str]]:
    """Raises: FileNotFoundError, PermissionError; UsageError: it is damaged."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, ValueError) as exc:
        raise UsageError(f"cannot read the settings in {path}: {exc}", "correct the file") from exc
    for key in table:
        _refuse_unknown(key, path)
    return {key: (_as_text(value), f"{key} in {path}") for key, value in table.items()}


def _refuse_unknown(key: str, path: Path) -> None:
    if key in FIELDS:
        return
    near = difflib.get_close_matches(key, FIELDS, n=1)
    hint = f"did you mean {near[0]}?" if near else "known are: " + ", ".join(FIELDS)
    raise UsageError(f"{path} has the unknown setting {key!r}", hint)


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)
