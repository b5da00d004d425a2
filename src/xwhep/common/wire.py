"""What travels between the roles: JSON over TLS 1.3, one Struct per message.

Times are UTC seconds since 1970 (float), durations are seconds, sizes are bytes, hashes are lowercase hex sha256.
Every identifier is an opaque string. Unknown fields are ignored on reading, so that neighbouring versions can talk.

    GET    /healthz                               -> Health                         anyone
    GET    /readyz                                -> Ready | 503 ErrorBody          anyone
    GET    /metrics                               -> Prometheus text                loopback, or an admin's token
    GET    /openapi.json                          -> this table and these Structs   anyone
    GET    /v1/ca                                 -> PEM of the authority           anyone (checked by its fingerprint)
    POST   /v1/login           Login              -> Session                        anyone
    POST   /v1/enrol           Enrol              -> Enrolled                       anyone with the join token
    GET    /v1/me                                 -> User                           user
    POST   /v1/me/password     PasswordChange     -> Ack; ends the user's other sessions  user
    GET    /v1/users                              -> list[User]                     admin
    POST   /v1/users           UserSpec           -> User; 409 when the login is taken    admin
    POST   /v1/users/{login}   UserChange         -> User                           admin
    GET    /v1/groups                             -> list[Group]; an admin sees all, others their own   user
    POST   /v1/groups          GroupSpec          -> Group; 409 when the name is taken    admin
    POST   /v1/groups/{name}   GroupChange        -> Group                          admin
    GET    /v1/tokens?all=1                       -> list[TokenInfo]; `all` is for admins  user
    DELETE /v1/tokens/{id}                        -> 204; works within 1 s          user (own), admin
    POST   /v1/tokens/join     JoinSpec           -> JoinToken                      admin; user (private)
    GET    /v1/audit?since=&limit=                -> list[AuditEntry], newest first admin
    GET    /v1/apps                               -> list[App]                      user
    POST   /v1/apps            AppSpec            -> App                            user
    GET    /v1/apps/{name}                        -> App                            user
    POST   /v1/apps/{name}/mode   Mode            -> App                            owner, admin
    HEAD   /v1/blobs/{sha256}                     -> 200 with Content-Length | 404  user, worker
    PUT    /v1/blobs/{sha256}  bytes              -> 201 new, 200 already here      user, worker
    GET    /v1/blobs/{sha256}                     -> bytes (Range understood)       user, worker
    GET    /v1/data                               -> list[Datum]                    user
    POST   /v1/data            DatumSpec          -> Datum                          user
    GET    /v1/data/{name or id}                  -> Datum                          user
    POST   /v1/data/{name or id}/mode  Mode       -> Datum                          owner, admin
    GET    /v1/jobs?state=&limit=                 -> list[Job], newest first        user
    POST   /v1/jobs            JobSpec            -> Job                            user
    GET    /v1/jobs/{id}?seen=REVISION&wait=S     -> Job; waits until revision > seen, at most S seconds
    POST   /v1/jobs/{id}/cancel                   -> Job                            user
    DELETE /v1/jobs/{id}                          -> 204                            user
    POST   /v1/jobs/{id}/mode  Mode               -> Job                            owner, admin
    GET    /v1/workers                            -> list[Worker]                   user
    POST   /v1/workers/{id}    WorkerChange       -> Worker                         admin; its owner
    POST   /v1/workers/{id}/rotate                -> Ack; its next heartbeat brings a new token   admin; its owner
    POST   /v1/work/request    WorkRequest        -> Lease | 204 after `wait`       worker
    POST   /v1/work/heartbeat  Heartbeat          -> HeartbeatReply                 worker
    POST   /v1/work/result     WorkResult         -> Ack; 409 when the attempt is stale   worker
    POST   /v1/work/leave      Leave              -> Ack                            worker, when it stops in good order

Every other status carries an `ErrorBody`. `Authorization: Bearer TOKEN` is a user's session or a worker's own token.

Apps, data and jobs have a mode as files have: read, write, execute for owner, owning group, others. To read is to see
it and its contents; to write is to change an app, to cancel or delete a job; to execute is to submit jobs of an app.
Others' rights to a job are those that both its mode and its app's give. What one may not read does not exist (404).
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


class Ready(Model, frozen=True, kw_only=True):
    status: str  # "ready"


class User(Model, frozen=True, kw_only=True):
    login: str
    role: str  # "admin" | "user"
    groups: list[str] = []
    active: bool = True  # False: can neither log in nor use a token


class UserSpec(Model, frozen=True, kw_only=True):
    login: str
    password: str
    role: str = "user"
    groups: list[str] = []  # they must exist


class UserChange(Model, frozen=True, kw_only=True):
    """What is None stays. A new password, and active=False, end the user's sessions."""

    password: str | None = None
    role: str | None = None
    groups: list[str] | None = None
    active: bool | None = None


class PasswordChange(Model, frozen=True, kw_only=True):
    old: str
    new: str


class GroupSpec(Model, frozen=True, kw_only=True):
    name: str
    members: list[str] = []  # logins


class Group(GroupSpec, frozen=True, kw_only=True):
    created_at: float


class GroupChange(Model, frozen=True, kw_only=True):
    members: list[str]  # all of them, from now on


class Mode(Model, frozen=True, kw_only=True):
    """`mode` is the nine bits of a file's mode; `group` the owning group: None leaves it, empty takes it away."""

    mode: int
    group: str | None = None


class TokenInfo(Model, frozen=True, kw_only=True):
    """A token without its secret. `subject` is a login, a worker's name, or for a join token whom it makes workers for
    ("everyone", "group NAME", or the owner's login)."""

    id: str
    kind: str  # "session" | "worker" | "join"
    subject: str
    created_at: float
    expires_at: float = 0.0  # 0: does not expire
    last_used_at: float = 0.0  # 0: never
    current: bool = False  # the one that asked


class JoinSpec(Model, frozen=True, kw_only=True):
    """A new join token. What enrols with it belongs to `owner` and runs the jobs that `visibility` says."""

    visibility: str = "public"  # "public" | "group" | "private"
    owner: str = ""  # a login; needed when private
    group: str = ""  # needed when "group"
    valid_s: float = 0.0  # 0: until revoked
    replace: bool = False  # this is the deployment's new public token, and its old one is void


class JoinToken(Model, frozen=True, kw_only=True):
    id: str
    token: str  # shown this once
    expires_at: float = 0.0


class AuditEntry(Model, frozen=True, kw_only=True):
    at: float
    who: str  # a login, or "console" for a command on the server's machine
    act: str  # "user add", "token revoke", ...
    subject: str
    detail: str = ""


class Binary(Model, frozen=True, kw_only=True):
    """One program of an app, for one kind of machine. `os` and `arch` are as `platform.system().lower()` and
    `platform.machine()` say them ("linux", "x86_64"); "any" runs everywhere (a script)."""

    os: str
    arch: str
    sha256: str
    size: int
    signature: str = ""  # base64 of Ed25519 over b"xwhep-app-1\0" + app name, os, arch, sha256, with b"\0" between
    signer: str = ""  # base64 of the public key's 32 bytes


class AppSpec(Model, frozen=True, kw_only=True):
    """An app to register: either binaries, or the name of a shared asset that workers have installed."""

    name: str
    binaries: list[Binary] = []
    shared: str = ""


class App(AppSpec, frozen=True, kw_only=True):
    id: str
    owner: str
    created_at: float
    mode: int = 0o755
    group: str = ""  # the owning group
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
    mode: int = 0o700
    group: str = ""  # the owning group


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
    mode: int = 0o700
    owner_group: str = ""  # the owning group, for rights


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
    visibility: str = "public"  # whose jobs it runs: "public" everyone's | "group" its group's | "private" its owner's
    group: str = ""
    owner: str = ""  # login; empty when it is the deployment's


class WorkerChange(Model, frozen=True, kw_only=True):
    """What is None stays."""

    visibility: str | None = None
    group: str | None = None
    draining: bool | None = None  # True: ends its jobs and gets no more


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
    token: str = ""  # not empty: to be kept, and used from now on; the old one is void at the first use of this one


class WorkResult(Model, frozen=True, kw_only=True):
    job_id: str
    attempt: int
    result: JobResult


class Leave(Model, frozen=True, kw_only=True):
    running: list[Running] = []  # attempts handed back unfinished


class Ack(Model, frozen=True, kw_only=True):
    ok: bool = True
