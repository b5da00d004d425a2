"""Every setting of the worker, declared once: its flag, environment variable, default and help.

Precedence, first wins: flag, environment (XWHEP_WORKER_NAME), file (/etc/xwhep/worker.toml), the deployment's file,
default.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xwhep.common.errors import UsageError
from xwhep.worker.machine import cpu_count
from xwhep.worker.owner import Span, parse_hours
from xwhep.worker.signatures import parse_signers

PREFIX = "XWHEP_WORKER_"
CONFIG_VARIABLE = "XWHEP_WORKER_CONFIG"
DEFAULT_CONFIG = Path("/etc/xwhep/worker.toml")
ISOLATIONS = ("auto", "bubblewrap", "container", "process")
# Kubernetes and docker links put such variables in the environment when a service is called xwhep-worker.
_FOREIGN_VARIABLE = re.compile(r"XWHEP_WORKER_(SERVICE_|PORT($|_)|ENV_|NAME_)")
_WORD = re.compile(r"[A-Za-z0-9._:=/+-]{1,64}")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_size(text: str) -> int:
    """Bytes from "1500000", "512M", "20G" (binary units).

    Raises:
        ValueError: it is no size.
    """
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise ValueError("write a size as 1500000, 512M or 20G")
    return int(match[1]) * _UNITS[match[2].upper()]


def _at_least_one(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError("write a whole number from 1")
    return int(text)


def _isolation(text: str) -> str:
    if text not in ISOLATIONS:
        raise ValueError(f"choose one of {', '.join(ISOLATIONS)}")
    return text


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("write a printable name")
    return text.strip()


def words(text: str) -> tuple[str, ...]:
    """Labels from "gpu, site=lab7", sorted, each once.

    Raises:
        ValueError: one of them is no word.
    """
    found = {word.strip() for word in text.split(",")} - {""}
    for word in found:
        if not _WORD.fullmatch(word):
            raise ValueError(f"{word!r} is no label: use letters, digits and . _ : = / + -, at most 64 of them")
    return tuple(sorted(found))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600:  # also refuses nan
        raise ValueError("write a number from 0 to 3600")
    return value


def _about(parse: Callable[[str], Any], explanation: str) -> dict[str, Any]:
    return {"parse": parse, "help": explanation}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the worker was told. Sizes are bytes, durations seconds."""

    state: Path = field(
        default=Path("/var/lib/xwhep-worker"),
        metadata=_about(Path, "folder of identity, cache, jobs and spool"),
    )
    name: str = field(
        default_factory=socket.gethostname,
        metadata=_about(_name, "name under which the server lists this worker (default: the host's)"),
    )
    slots: int = field(
        default_factory=cpu_count,
        metadata=_about(_at_least_one, "jobs to run at the same time (default: one per CPU)"),
    )
    shared_dir: Path = field(
        default=Path("/usr/share/xwhep-worker/shared.d"),
        metadata=_about(Path, "folder of *.toml files, one per shared asset"),
    )
    cache_max: int = field(
        default=10 * 2**30,
        metadata=_about(parse_size, "most bytes to keep in the cache of programs and data, as 20G"),
    )
    isolation: str = field(
        default="auto",
        metadata=_about(_isolation, f"how jobs are walled in: {', '.join(ISOLATIONS)}"),
    )
    stop_grace: float = field(
        default=5.0,
        metadata=_about(_seconds, "seconds between SIGTERM and SIGKILL for a job that is cancelled"),
    )
    job_processes: int = field(
        default=1024,
        metadata=_about(_at_least_one, "most processes and threads of the user that runs jobs"),
    )
    job_files: int = field(
        default=4096,
        metadata=_about(_at_least_one, "most files that one process of a job may have open"),
    )
    disk_reserve: int = field(
        default=64 * 2**20,
        metadata=_about(parse_size, "bytes of the disk that programs and data never fill, as 10G"),
    )
    hours: tuple[Span, ...] = field(
        default=(),
        metadata=_about(parse_hours, "when jobs may start, as mon-fri 18-08, sat-sun 00-24 (default: always)"),
    )
    load_max: float = field(
        default=0.0,
        metadata=_about(_seconds, "load by others than jobs from which on no job starts (default, 0: any)"),
    )
    idle_s: float = field(
        default=0.0,
        metadata=_about(_seconds, "seconds without a key at any terminal before a job starts (default: 0)"),
    )
    signers: tuple[str, ...] = field(
        default=(),
        metadata=_about(parse_signers, "public keys whose programs may run, with commas between (default: all may)"),
    )
    labels: tuple[str, ...] = field(
        default=(),
        metadata=_about(words, "words that jobs may ask for, with commas between, as gpu,site=lab7"),
    )
    job_memory: int = field(
        default=0,
        metadata=_about(parse_size, "most bytes of memory of one job, as 4G (default, 0: all that the machine has)"),
    )
    job_disk: int = field(
        default=30 * 2**30,
        metadata=_about(parse_size, "most bytes that one job may keep on the disk, as 30G (0: no limit)"),
    )
    deployment: Path = field(
        default=Path("/etc/xwhep/worker-deployment"),
        metadata=_about(Path, "folder of what the deployment's package brings, when it exists"),
    )


FIELDS: dict[str, dataclasses.Field[Any]] = {one.name: one for one in dataclasses.fields(Settings)}


def variable(name: str) -> str:
    """The environment variable of a setting: slots -> XWHEP_WORKER_SLOTS."""
    return PREFIX + name.upper()


def add_flags(parser: argparse.ArgumentParser, names: tuple[str, ...] = tuple(FIELDS)) -> None:
    """One flag per setting, absent from the namespace when not typed."""
    parser.add_argument(
        "--config", default=None, metavar="FILE", help=f"settings file [{CONFIG_VARIABLE}] ({DEFAULT_CONFIG})"
    )
    for name in names:
        parser.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            default=argparse.SUPPRESS,
            metavar=name.rpartition("_")[2].upper(),
            help=f"{FIELDS[name].metadata['help']} [{variable(name)}]",
        )


def load(typed: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Settings from typed flags, the environment and the settings file.

    Raises:
        UsageError: an unknown name (with the nearest known one), or a value that cannot be read.
    """
    from_file = _read_file(typed.get("config") or environment.get(CONFIG_VARIABLE))
    _check_variables(environment)
    layers = _Layers(typed, environment, from_file)
    folder = layers.value("deployment") or Settings.deployment
    layers.deployed = _read_deployed(folder / "worker.toml")
    return Settings(**{name: value for name in FIELDS if (value := layers.value(name)) is not None})


@dataclass
class _Layers:
    """Where a setting may come from."""

    typed: Mapping[str, Any]
    environment: Mapping[str, str]
    from_file: Mapping[str, Any]
    deployed: Mapping[str, Any] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Of the first layer that has it; None when none has."""
        candidates = (
            (self.typed.get(name), "--" + name.replace("_", "-")),
            (self.environment.get(variable(name)) or None, variable(name)),
            (self.from_file.get(name), f"{name} in the settings file"),
            (self.deployed.get(name), f"{name} in the deployment's worker.toml"),
        )
        for text, source in candidates:
            if text is not None:
                return _parse(FIELDS[name], _as_text(text), source)
        return None


def _read_deployed(file: Path) -> dict[str, Any]:
    # Everybody may ask for the status; `run` says what it cannot read.
    if not os.access(file, os.R_OK, effective_ids=True):
        return {}
    content = _read_file(str(file))
    if "deployment" in content:
        raise UsageError(f"{file} has the setting 'deployment', which says where it is itself", "take it out")
    return content


def _as_text(value: Any) -> str:
    """In the file a setting of several words may also be a list."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _parse(declared: dataclasses.Field[Any], text: str, source: str) -> Any:
    try:
        return declared.metadata["parse"](text)
    except ValueError as exc:
        raise UsageError(f"{source} is {text!r}: {exc}", "correct it and start again") from exc


def _read_file(path: str | None) -> dict[str, Any]:
    if path is None and not DEFAULT_CONFIG.exists():
        return {}
    file = Path(path) if path else DEFAULT_CONFIG
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise UsageError(
            f"the settings file {file} cannot be read: {exc}", "correct it, or name another with --config"
        ) from exc
    for name in content:
        if name not in FIELDS:
            raise UsageError(f"{file} has an unknown setting {name!r}", _suggestion(name, list(FIELDS)))
    return content


def _check_variables(environment: Mapping[str, str]) -> None:
    known = [CONFIG_VARIABLE, *map(variable, FIELDS)]
    for name in environment:
        if name.startswith(PREFIX) and name not in known and not _FOREIGN_VARIABLE.match(name):
            raise UsageError(f"the environment has an unknown setting {name}", _suggestion(name, known))


def _suggestion(name: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {nearest[0]}?" if nearest else f"known are: {', '.join(known)}"
