"""What goes into the store and comes out of it, where the wire models do not fit."""

from __future__ import annotations

from dataclasses import dataclass

from xwhep.common.wire import JobResult, JobSpec, LeasedDatum, Machine, Model
from xwhep.server.store.identity_records import PUBLIC, Service


class Inputs(Model, frozen=True, kw_only=True):
    """What a job's stdin and data meant when it was submitted; later changes of names do not touch it."""

    stdin: LeasedDatum | None = None
    data: list[LeasedDatum] = []


@dataclass(frozen=True, kw_only=True)
class Account:
    login: str
    role: str  # "admin" | "user"
    password_hash: str
    active: bool = True


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    login: str
    role: str
    expires_at: float
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker as stored; whether it is idle, busy or lost is for the fleet to say."""

    id: str
    name: str
    machine: Machine
    last_seen_at: float
    left_at: float
    running: tuple[tuple[str, str], ...]  # (job id, owner) of the jobs leased to it
    service: Service = PUBLIC


@dataclass(frozen=True, kw_only=True)
class NewWorker:
    id: str
    name: str
    token_hash: str
    machine: Machine
    service: Service = PUBLIC
    join_id: str = ""  # of the join token that it came with


@dataclass(frozen=True, kw_only=True)
class NewJob:
    owner: str
    app_id: str
    spec: JobSpec
    inputs: Inputs


@dataclass(frozen=True, kw_only=True)
class LeaseWish:
    """A worker asks for a job of one of `app_ids`, to hold until `until`."""

    worker_id: str
    worker_name: str
    app_ids: tuple[str, ...]
    until: float
    serves: frozenset[str] | None = None  # whose jobs; None for everyone's


@dataclass(frozen=True, kw_only=True)
class LeasedJob:
    id: str
    attempt: int
    until: float
    app_id: str
    spec: JobSpec
    inputs: Inputs


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One worker's try at one job: what every write of a worker is checked against."""

    job_id: str
    number: int
    worker_id: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    attempt: Attempt
    result: JobResult


@dataclass(frozen=True, kw_only=True)
class Expired:
    """A lease that ran out."""

    attempt: Attempt
    app_id: str
    worker_name: str
    losses: int  # before this one


@dataclass(frozen=True, kw_only=True)
class LossRule:
    """What becomes of a lost job: it fails at `limit` losses; else other workers come first until `avoid_until`."""

    limit: int
    avoid_until: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something a waiting request may want to know, told after the commit."""

    job_id: str
    pending_app_id: str = ""  # set when the job may run now
    avoid_worker: str = ""  # which worker may not take it yet
