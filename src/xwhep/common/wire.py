"""What travels between the roles: JSON over TLS 1.3, one Struct per message.

Times are UTC seconds since 1970 (float), durations are seconds, sizes are bytes, hashes are lowercase hex sha256.
Every identifier is an opaque string. Unknown fields are ignored on reading, so that neighbouring versions can talk.

    GET    /healthz                               -> Health                         anyone
    GET    /v1/ca                                 -> PEM of the authority           anyone (checked by its fingerprint)
    POST   /v1/login           Login              -> Session                        anyone
    POST   /v1/enrol           Enrol              -> Enrolled                       anyone with the join token
    GET    /v1/me                                 -> User                           user
    GET    /v1/apps                               -> list[App]                      user
    POST   /v1/apps            AppSpec            -> App                            user
    GET    /v1/apps/{name}                        -> App                            user
    HEAD   /v1/blobs/{sha256}                     -> 200 with Content-Length | 404  user, worker
    PUT    /v1/blobs/{sha256}  bytes              -> 201 new, 200 already here      user, worker
    GET    /v1/blobs/{sha256}                     -> bytes (Range understood)       user, worker
    GET    /v1/data                               -> list[Datum]                    user
    POST   /v1/data            DatumSpec          -> Datum                          user
    GET    /v1/data/{name or id}                  -> Datum                          user
    GET    /v1/jobs?state=&limit=                 -> list[Job], newest first        user
    POST   /v1/jobs            JobSpec            -> Job                            user
    GET    /v1/jobs/{id}?seen=REVISION&wait=S     -> Job; waits until revision > seen, at most S seconds
    POST   /v1/jobs/{id}/cancel                   -> Job                            user
    DELETE /v1/jobs/{id}                          -> 204                            user
    GET    /v1/workers                            -> list[Worker]                   user
    POST   /v1/work/request    WorkRequest        -> Lease | 204 after `wait`       worker
    POST   /v1/work/heartbeat  Heartbeat          -> HeartbeatReply                 worker
    POST   /v1/work/result     WorkResult         -> Ack; 409 when the attempt is stale   worker
    POST   /v1/work/leave      Leave              -> Ack                            worker, when it stops in good order

Every other status carries an `ErrorBody`. `Authorization: Bearer TOKEN` is a user's session or a worker's own token.
"""

from __future__ import annotations

import enum

import msgspec

DEFAULT_PORT = 4321
PROTOCOL_VERSION = 1


class JobState(enum.StrEnum):
    """Where a job is. `FINAL_STATES` never change again."""

    WAITING = "waiting"  # registered, not yet allowed to run (back-off after a lost attempt, or a job it comes after)
    PENDING = "pending"  # may run now; waits for a worker that fits
    RUNNING = "running"  # leased to one worker as (worker, attempt, until)
    COMPLETED = "completed"  # final: ran to its end with exit code 0; the result is on the server
    FAILED = "failed"  # final: ran to its end with another exit code, or used up its attempts
    CANCELLED = "cancelled"  # final: its owner stopped it
    LOST = "lost"  # its lease ran out; on its way back to waiting or pending


FINAL_STATES = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED})


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every message. Each class repeats frozen and kw_only because type checkers do not see them inherited."""


class ErrorBody(Model, frozen=True, kw_only=True):
    code: str
    message: str
    next_step: str = ""


class Health(Model, frozen=True, kw_only=True):
    status: str  # "ok"
    version: str
    protocol: int = PROTOCOL_VERSION


class Login(Model, frozen=True, kw_only=True):
    login: str
    password: str


class Session(Model, frozen=True, kw_only=True):
    token: str
    login: str
    expires_at: float


class User(Model, frozen=True, kw_only=True):
    login: str
    role: str  # "admin" | "user"


class Binary(Model, frozen=True, kw_only=True):
    """One program of an app, for one kind of machine. `os` and `arch` are as `platform.system().lower()` and
    `platform.machine()` say them ("linux", "x86_64"); "any" runs everywhere (a script)."""

    os: str
    arch: str
    sha256: str
    size: int


class AppSpec(Model, frozen=True, kw_only=True):
    """An app to register: either binaries, or the name of a shared asset that workers have installed."""

    name: str
    binaries: list[Binary] = []
    shared: str = ""


class App(AppSpec, frozen=True, kw_only=True):
    id: str
    owner: str
    created_at: float
    workers: list[str] = []  # names of live workers that can run it, for a shared app


class DatumSpec(Model, frozen=True, kw_only=True):
    """A named blob. The blob must be on the server before the name is registered."""

    name: str
    sha256: str
    size: int


class Datum(DatumSpec, frozen=True, kw_only=True):
    id: str
    owner: str
    created_at: float


class JobSpec(Model, frozen=True, kw_only=True):
    app: str
    args: list[str] = []
    env: dict[str, str] = {}
    stdin: str = ""  # id or name of a datum; empty: no input
    data: list[str] = []  # ids or names of data placed in the job's folder under their names
    label: str = ""


class ResultFile(Model, frozen=True, kw_only=True):
    path: str  # relative to the job's folder, "/" between parts, no ".."
    sha256: str
    size: int
    mode: int = 0o644


class JobResult(Model, frozen=True, kw_only=True):
    exit_code: int
    stdout: ResultFile
    stderr: ResultFile
    files: list[ResultFile] = []  # every other file the job made or changed
    wall_s: float = 0.0
    reason: str = ""  # why there is no regular exit code: "wall clock limit", "worker refused: ..."
    note: str = ""  # what its owner should know all the same: "left out, being no regular files: ..."


class Job(JobSpec, frozen=True, kw_only=True):
    id: str
    owner: str
    state: JobState
    revision: int  # grows with every change of this job; see ?seen=
    attempt: int = 0
    worker: str = ""  # name of the worker of the current or last attempt
    created_at: float
    started_at: float = 0.0
    ended_at: float = 0.0
    result: JobResult | None = None
    reason: str = ""  # why it failed, was lost or waits


class Machine(Model, frozen=True, kw_only=True):
    """What a worker says of itself."""

    os: str
    arch: str
    cpu_count: int
    cpu_model: str
    ram_bytes: int
    disk_free_bytes: int
    version: str
    shared: list[str] = []  # names of shared assets installed on it
    isolation: str = ""  # how jobs are walled in: "bubblewrap" | "container" | "process"


class Enrol(Model, frozen=True, kw_only=True):
    join_token: str
    name: str
    machine: Machine


class Enrolled(Model, frozen=True, kw_only=True):
    worker_id: str
    token: str
    heartbeat_s: float


class Worker(Model, frozen=True, kw_only=True):
    id: str
    name: str
    machine: Machine
    state: str  # "idle" | "busy" | "lost" | "left"
    last_seen_at: float
    running: list[str] = []  # ids of its jobs


class WorkRequest(Model, frozen=True, kw_only=True):
    machine: Machine
    slots: int = 1  # free slots; the server leases at most one job a request
    wait_s: float = 20.0  # how long the server may hold the request while there is no job


class LeasedDatum(Model, frozen=True, kw_only=True):
    name: str
    sha256: str
    size: int


class Lease(Model, frozen=True, kw_only=True):
    """A job lent to a worker until `until`. Every later write of the worker names (job_id, attempt)."""

    job_id: str
    attempt: int
    until: float
    heartbeat_s: float
    app: str
    args: list[str] = []
    env: dict[str, str] = {}
    binary: Binary | None = None
    shared: str = ""
    stdin: LeasedDatum | None = None
    data: list[LeasedDatum] = []


class Running(Model, frozen=True, kw_only=True):
    job_id: str
    attempt: int


class Heartbeat(Model, frozen=True, kw_only=True):
    running: list[Running] = []


class HeartbeatReply(Model, frozen=True, kw_only=True):
    heartbeat_s: float  # when to come again
    stop: list[Running] = []  # attempts to kill: cancelled, or no longer this worker's


class WorkResult(Model, frozen=True, kw_only=True):
    job_id: str
    attempt: int
    result: JobResult


class Leave(Model, frozen=True, kw_only=True):
    running: list[Running] = []  # attempts handed back unfinished


class Ack(Model, frozen=True, kw_only=True):
    ok: bool = True
