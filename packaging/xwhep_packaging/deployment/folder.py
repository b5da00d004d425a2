"""deployments/NAME on disk: mode 0700, files 0600, replaced as a whole.

    .NAME.new ── complete, fsynced ──> NAME is renamed to .NAME.old ──> .NAME.new is renamed to NAME ──> .old removed

A killed writer leaves the old or the new: where NAME is missing and .NAME.old is there, .NAME.new is complete, and the
next one to look puts it in its place.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from xwhep_packaging.deployment.records import NAME_PATTERN, ROLES, About, Authority, Deployment, JoinToken, Login
from xwhep_packaging.deployment.values import refuse_exposed
from xwhep_packaging.errors import AnswerError, DeploymentError, StoreError
from xwhep_packaging.store import remove_tree, sync

ABOUT = "deployment.toml"
AUTHORITIES = "authority"
LOCK = ".lock"
HEAD = "# What this deployment is; no secret is in this file. `doit configure` writes it.\n"


def names(parent: Path) -> list[str]:
    """The deployments there; one whose replacement was interrupted counts."""
    try:
        entries = [entry.name for entry in parent.iterdir() if entry.is_dir()]
    except OSError:
        return []
    found = {re.sub(r"^\.(.+)\.old$", r"\1", entry) for entry in entries}
    return sorted(name for name in found if re.match(NAME_PATTERN, name))


def checked_name(name: str) -> str:
    """Raises: AnswerError: it cannot be part of a folder's and an image's name."""
    if not re.match(NAME_PATTERN, name):
        raise AnswerError(
            f"{name[:80]!r} is no name for a deployment",
            cause="lower-case letters, digits and -, at most 40, the first no -",
            next_step="scripts/doit configure name=grid",
        )
    return name


def read(parent: Path, name: str) -> Deployment:
    """The deployment of that name, whole.

    Raises:
        DeploymentError: there is none, or a file of it is missing or damaged.
        SecretsExposed: others can read the folder or a file in it.
    """
    if not parent.is_dir() or name not in names(parent):
        known = ", ".join(names(parent)) or "none yet"
        raise DeploymentError(
            f"there is no deployment {name!r}", cause=f"known: {known}", next_step="scripts/doit configure"
        )
    with _locked(parent):
        _settle(parent, name)
        folder = parent / name
        for path in [folder, *sorted(folder.rglob("*"))]:
            refuse_exposed(path, path.lstat())
        try:
            return _read(folder)
        except (OSError, ValueError, msgspec.MsgspecError) as exc:
            raise DeploymentError(
                f"the deployment {name!r} is damaged", cause=str(exc), next_step=f"restore {folder} from a backup"
            ) from exc


def write(parent: Path, deployment: Deployment) -> Path:
    """Put the deployment in its place, over an older one of its name.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    name = deployment.about.name
    try:
        parent.mkdir(mode=0o700, exist_ok=True)
        with _locked(parent):
            _settle(parent, name)
            new, old, folder = parent / f".{name}.new", parent / f".{name}.old", parent / name
            _write(new, _files(deployment))
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            sync(parent)
            remove_tree(old)
    except OSError as exc:
        raise StoreError(
            f"cannot write the deployment {name!r} in {parent}",
            cause=str(exc),
            next_step="check the disk and its rights",
        ) from exc
    return folder


def _settle(parent: Path, name: str) -> None:
    """Finish what a killed writer began, or forget it."""
    new, old, folder = parent / f".{name}.new", parent / f".{name}.old", parent / name
    if old.exists() and not folder.exists():
        (new if new.exists() else old).rename(folder)
    remove_tree(old)
    remove_tree(new)


@contextmanager
def _locked(parent: Path) -> Iterator[None]:
    """The kernel lets go of it when the process dies."""
    descriptor = os.open(parent / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _files(deployment: Deployment) -> dict[str, bytes]:
    count = len(deployment.authorities)
    files = {
        ABOUT: _as_toml(msgspec.to_builtins(deployment.about)).encode(),
        "server.pem": deployment.server_pem,
        "admin.json": _as_json(deployment.admin),
        "join.json": _as_json(deployment.joins),
        "digest.key": deployment.digest_key,
    }
    for number, authority in zip(range(count, 0, -1), deployment.authorities, strict=True):
        files[f"{AUTHORITIES}/{number:04d}.key"] = authority.key
        files[f"{AUTHORITIES}/{number:04d}.pem"] = authority.certificate
    return files


def _read(folder: Path) -> Deployment:
    about = msgspec.convert(tomllib.loads((folder / ABOUT).read_text(encoding="utf-8")), About)
    certificates = sorted((folder / AUTHORITIES).glob("*.pem"), reverse=True)
    if set(about.packages) != set(ROLES) or about.name != folder.name or not certificates:
        raise ValueError(f"{ABOUT} is not this folder's, or there is no authority")
    joins = msgspec.json.decode((folder / "join.json").read_bytes(), type=tuple[JoinToken, ...])
    if not joins:
        raise ValueError("join.json is empty")
    return Deployment(
        about=about,
        authorities=tuple(
            Authority(key=path.with_suffix(".key").read_bytes(), certificate=path.read_bytes()) for path in certificates
        ),
        server_pem=(folder / "server.pem").read_bytes(),
        admin=msgspec.json.decode((folder / "admin.json").read_bytes(), type=Login),
        joins=joins,
        digest_key=(folder / "digest.key").read_bytes(),
    )


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All of it, on disk when this returns; the modes do not hang on the caller's umask."""
    folder.mkdir(mode=0o700)
    (folder / AUTHORITIES).mkdir(mode=0o700)
    for name, content in files.items():
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), 0o600)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    for place in (folder / AUTHORITIES, folder):
        place.chmod(0o700)
        sync(place)


def _as_json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def _as_toml(table: Mapping[str, Any]) -> str:
    """JSON's strings, numbers and truth values are TOML's too."""
    plain = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    packages = [
        line
        for role, package in table["packages"].items()
        for line in ("", f"[packages.{role}]", *(f"{key} = {value}" for key, value in package.items()))
    ]
    return HEAD + "\n".join([*plain, *packages]) + "\n"
