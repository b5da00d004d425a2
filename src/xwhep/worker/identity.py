"""Who this worker is to its server: made once by joining, kept in the state folder, readable by its owner alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec

from xwhep.common.authority import fetch_authority
from xwhep.common.durable import write_private
from xwhep.common.errors import NotAllowed, UsageError
from xwhep.common.join import JoinLine
from xwhep.common.wire import Enrol, Enrolled, Machine, Model
from xwhep.worker.session import Session

FILE_NAME = "identity.json"
HOW_TO_JOIN = "on the server, run: xwhep-server join-line worker | then here: xwhep-worker join (and paste its output)"


class Identity(Model, frozen=True, kw_only=True):
    """`ca_file` is a name in the state folder; `token` authenticates every call and is never shown."""

    address: str
    ca_file: str
    worker_id: str
    token: str
    name: str
    heartbeat_s: float

    def __repr__(self) -> str:  # tokens never reach a log by accident
        return f"Identity({self.name} {self.worker_id} at {self.address})"

    def session(self, state: Path) -> Session:
        return Session(self.address, state / self.ca_file, self.token)


def join(line: JoinLine, name: str, machine: Machine, state: Path) -> Identity:
    """Enrol with the server of `line` and store what it gives.

    The authority's file carries its fingerprint in its name, so that replacing identity.json, the last step, switches
    from the old server to the new one at once.

    Raises:
        ConnectionFailed: nothing answers.
        UntrustedCertificate: the authority there is not the one of the line.
        AuthenticationFailed: the token of the line is not valid (any more).
    """
    pem = line.authority or fetch_authority(line.address, line.fingerprint)
    ca_file = f"ca-{line.fingerprint.removeprefix('sha256:')[:16]}.pem"
    write_private(state / ca_file, pem.encode())
    session = Session(line.address, state / ca_file)
    enrolled = session.post("/v1/enrol", Enrol(join_token=line.token, name=name, machine=machine), Enrolled)
    assert enrolled is not None  # noqa: S101 - /v1/enrol never answers 204
    identity = Identity(
        address=line.address,
        ca_file=ca_file,
        worker_id=enrolled.worker_id,
        token=enrolled.token,
        name=name,
        heartbeat_s=enrolled.heartbeat_s,
    )
    write_private(state / FILE_NAME, msgspec.json.encode(identity))
    return identity


def renewed(identity: Identity, token: str, state: Path) -> Identity:
    """The same worker with a new token, stored: the server voids the old one when it sees the new one.

    Raises:
        OSError: it cannot be stored; the old one goes on for a while.
    """
    changed = msgspec.structs.replace(identity, token=token)
    write_private(state / FILE_NAME, msgspec.json.encode(changed))
    return changed


def trust_also(identity: Identity, authority: str, state: Path) -> None:
    """Keep what the deployment says may be trusted: its authority may have been renewed since this worker joined."""
    file = state / identity.ca_file
    if not file.exists() or file.read_text("ascii", "replace") != authority:
        write_private(file, authority.encode())


def stored(state: Path) -> Identity | None:
    """The identity of an earlier join; None before the first.

    Raises:
        NotAllowed: others could read it, or this user cannot.
        UsageError: it is damaged.
    """
    file = state / FILE_NAME
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except PermissionError as exc:
        raise NotAllowed(
            f"{file} cannot be read by user {os.geteuid()}", "run it as the worker's user, or as root"
        ) from exc
    if mode & 0o077:
        raise NotAllowed(f"{file} holds the worker's token, but other users may read it", f"run: chmod 600 {file}")
    try:
        return msgspec.json.decode(content, type=Identity)
    except msgspec.DecodeError as exc:
        raise UsageError(f"{file} is damaged: {exc}", f"remove it and join again; {HOW_TO_JOIN}") from exc
