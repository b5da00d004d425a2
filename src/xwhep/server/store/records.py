"""What goes into the store and comes out of it, where the wire models do not fit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import msgspec
from msgspec import Struct  # made thousands of times a second: cheaper to make than a dataclass

from xwhep.common.wire import JobResult, JobSpec, JobState, LeasedDatum, Machine, Model, Needs
from xwhep.server.store.identity_records import PUBLIC, Service

REFUSED = "worker refused"  # how the reason of a result begins when the worker could not run the job


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
    failures_in_row: int = 0
    quarantined_until: float = 0.0
    outvoted: int = 0
    draining: bool = False


@dataclass(frozen=True, kw_only=True)
class NewWorker:
    id: str
    name: str
    token_hash: str
    machine: Machine
    service: Service = PUBLIC
    join_id: str = ""  # of the join token that it came with


class NewJob(Struct, frozen=True, kw_only=True):
    owner: str
    app_id: str
    spec: JobSpec
    inputs: Inputs
    key: str = ""  # of the submission: the same for all jobs of a batch


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What jobs are matched by: all of one kind fit the same workers. `replica` is 0, or the number of the replica."""

    id: str
    app_id: str
    owner: str
    replica: int
    needs: Needs


def kind_of(app_id: str, owner: str, needs: Needs, replica: int = 0) -> Kind:
    """The kind with these properties; equal properties have the same id."""
    return _undemanding_kind(app_id, owner, replica) if needs == _NOTHING else _kind(app_id, owner, needs, replica)


_NOTHING = Needs()


@lru_cache(1024)
def _undemanding_kind(app_id: str, owner: str, replica: int) -> Kind:
    return _kind(app_id, owner, _NOTHING, replica)


def _kind(app_id: str, owner: str, needs: Needs, replica: int) -> Kind:
    key = msgspec.json.encode([app_id, owner, replica, needs])
    return Kind(id=hashlib.sha256(key).hexdigest()[:20], app_id=app_id, owner=owner, replica=replica, needs=needs)


class LeaseWish(Struct, frozen=True, kw_only=True):
    """A worker asks for at most `most` jobs of `kinds`, to hold until `until`.

    A job that says nothing of it may run for `wall_clock_s`; `margin_s` later the server gives the attempt up.
    """

    worker_id: str
    worker_name: str
    kinds: tuple[str, ...]
    until: float
    user: str = ""  # whose worker it is; replicas of one job go to workers of different users
    most: int = 1
    wall_clock_s: float = 21_600.0
    margin_s: float = 60.0


class LeasedJob(Struct, frozen=True, kw_only=True):
    id: str
    attempt: int
    until: float
    app_id: str
    spec: JobSpec
    inputs: Inputs
    wall_clock_s: float = 0.0


class Attempt(Struct, frozen=True, kw_only=True):
    """One worker's try at one job: what every write of a worker is checked against."""

    job_id: str
    number: int
    worker_id: str


class LossRule(Struct, frozen=True, kw_only=True):
    """What becomes of a lost job and of the worker that lost it.

    The job fails at `limit` losses; else other workers come first until `avoid_until`, and from the second attempt
    without a result on it waits for `back_off_s`, each time twice as long. A worker that fails `quarantine_after` jobs
    in a row gets none for `quarantine_s`, twice as long each time.
    """

    limit: int = 3
    avoid_until: float = 0.0
    back_off_s: float = 0.0
    quarantine_after: int = 5
    quarantine_s: float = 60.0


class Delivery(Struct, frozen=True, kw_only=True):
    attempt: Attempt
    result: JobResult
    rule: LossRule = LossRule()  # should the worker not have been able to run it


class Finished(Struct, frozen=True, kw_only=True):
    """What a taken result made of its job."""

    id: str
    attempt: int
    state: JobState


NO_CONTENTS: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Expired:
    """A lease that ran out."""

    attempt: Attempt
    kind: str
    worker_name: str
    losses: int  # before this one


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs to list; '' is any. Given an owner, those that he and his groups may read."""

    owner: str = ""
    owner_groups: frozenset[str] = frozenset()
    state: str = ""
    group: str = ""
    session: str = ""
    label: str = ""
    before: str = ""  # id of a job: only older ones
    limit: int = 100


class Change(Struct, frozen=True, kw_only=True):
    """Something a waiting request may want to know, told after the commit."""

    job_id: str = ""  # '' for jobs that are so new that nobody watches them
    pending_kind: str = ""  # set when the job may run now
    count: int = 1  # how many such jobs
    avoid: frozenset[str] = frozenset()  # which workers (ids) may not take it yet
    new_kind: Kind | None = None  # a kind that matching may not know
