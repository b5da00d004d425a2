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
    DELETE /v1/apps/{name}                        -> 204; 409 while a job that has not ended needs it   owner, admin
    POST   /v1/apps/{name}/mode   Mode            -> App                            owner, admin
    HEAD   /v1/blobs/{sha256}                     -> 200 with Content-Length | 404  user, worker
    PUT    /v1/blobs/{sha256}  bytes              -> 201 new, 200 already here      user, worker
    GET    /v1/blobs/{sha256}                     -> bytes (Range understood)       user, worker
    GET    /v1/data?all=1                         -> list[Datum]; `all`: also those for jobs only   user
    POST   /v1/data            DatumSpec          -> Datum                          user
    GET    /v1/data/{name or id}                  -> Datum                          user
    DELETE /v1/data/{name or id}                  -> 204; 409 while a job that has not ended needs it   owner, admin
    POST   /v1/data/{name or id}/mode  Mode       -> Datum                          owner, admin
    GET    /v1/jobs?state=&group=&session=&label=&limit=&before=ID -> list[Job], newest first   user
    POST   /v1/jobs            JobSpec            -> Job                            user
    POST   /v1/jobs/bulk       JobBatch           -> JobIds; all of them or none    user
    GET    /v1/jobs/summary?group=&session=&seen=VERSION&wait=S -> JobSummary; waits until its version is another  user
    POST   /v1/jobs/cancel     CancelSpec         -> JobIds that were stopped       user
    GET    /v1/jobs/{id}?seen=REVISION&wait=S     -> Job; waits until revision > seen, at most S seconds
    POST   /v1/jobs/delete     DeleteSpec         -> JobIds that are gone; 409 while one has not ended   user
    POST   /v1/jobs/{id}/cancel                   -> Job                            user
    GET    /v1/jobs/{id}/explain                  -> Explanation                    user
    GET    /v1/jobs/{id}/logs?stream=stdout&offset=N&attempt=A&wait=S&replica=R -> OutputPiece; another attempt's from
                                                     0; while a job's replicas run: of one, else 409   user
    DELETE /v1/jobs/{id}                          -> 204                            user
    POST   /v1/jobs/{id}/mode  Mode               -> Job                            owner, admin
    GET    /v1/workers                            -> list[Worker]; public ones, one's groups', one's own   user
    POST   /v1/workers/{id}    WorkerChange       -> Worker                         admin; its owner
    POST   /v1/workers/{id}/rotate                -> Ack; its next heartbeat brings a new token   admin; its owner
    POST   /v1/workers/{id}/unquarantine          -> Worker; its failures are forgotten   admin
    POST   /v1/worker/request  WorkRequest        -> Lease | 204 after `wait`       worker
    POST   /v1/worker/leases   WorkRequest        -> Leases, one a free slot at most | 204  worker
    POST   /v1/worker/heartbeat Heartbeat         -> HeartbeatReply                 worker
    POST   /v1/worker/result   WorkResult         -> Ack; 409 when the attempt is stale   worker
    POST   /v1/worker/results  WorkResults        -> Outcomes, one for each result  worker
    POST   /v1/worker/output   Output             -> Ack; 409 when the attempt is stale   worker
    POST   /v1/worker/leave    Leave              -> Ack                            worker, when it stops in good order

Every other status carries an `ErrorBody`. `Authorization: Bearer TOKEN` is a user's session or a worker's own token.

Apps, data and jobs have a mode as files have: read, write, execute for owner, owning group, others. To read is to see
it and its contents; to write is to change an app, to cancel or delete a job; to execute is to submit jobs of an app.
Others' rights to a job are those that both its mode and its app's give. What one may not read does not exist (404).

A submission with a `key` may be sent again when no answer came: the jobs are made once. The same key with other jobs
is a 409.
"""

from __future__ import annotations

from xwhep.common.wire_identity import (  # noqa: F401 - the wire in three files, read as one
    PROTOCOL_VERSION,
    AuditEntry,
    ErrorBody,
    Group,
    GroupChange,
    GroupSpec,
    Health,
    JoinSpec,
    JoinToken,
    Login,
    Mode,
    Model,
    PasswordChange,
    Ready,
    Session,
    TokenInfo,
    User,
    UserChange,
    UserSpec,
)
from xwhep.common.wire_jobs import (  # noqa: F401
    FINAL_STATES,
    MAX_AFTER,
    MAX_BATCH,
    MAX_BATCH_BYTES,
    MAX_PRIORITY,
    MAX_REPLICAS,
    MAX_TRIES,
    CancelSpec,
    DeleteSpec,
    Explanation,
    Failing,
    Job,
    JobBatch,
    JobIds,
    JobResult,
    JobSpec,
    JobState,
    JobSummary,
    Needs,
    OutputPiece,
    Replica,
    ResultFile,
)

DEFAULT_PORT = 4321


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
    for_jobs: bool = False  # it goes with the last job that names it, and is left out of lists


class Datum(DatumSpec, frozen=True, kw_only=True):
    id: str
    owner: str
    created_at: float
    mode: int = 0o700
    group: str = ""  # the owning group


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
    labels: list[str] = []  # what its owner calls it
    signers: list[str] = []  # when there are some, it runs only binaries that one of them signed


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
    quarantined_until: float = 0.0
    failures_in_row: int = 0
    outvoted: int = 0  # how many of its results a quorum of other workers contradicted
    draining: bool = False  # gets no new jobs


class WorkerChange(Model, frozen=True, kw_only=True):
    """What is None stays."""

    visibility: str | None = None
    group: str | None = None
    draining: bool | None = None  # True: ends its jobs and gets no more


class WorkRequest(Model, frozen=True, kw_only=True):
    machine: Machine
    slots: int = 1  # free slots: /v1/worker/leases gives at most so many jobs
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
    wall_clock_s: float = 0.0  # kill it after that; the server gives the job up a little later


class Running(Model, frozen=True, kw_only=True):
    job_id: str
    attempt: int


class Heartbeat(Model, frozen=True, kw_only=True):
    running: list[Running] = []


class HeartbeatReply(Model, frozen=True, kw_only=True):
    heartbeat_s: float  # when to come again
    stop: list[Running] = []  # attempts to kill: cancelled, or no longer this worker's
    token: str = ""  # not empty: to be kept, and used from now on; the old one is void at the first use of this one
    watched: list[Running] = []  # attempts whose output somebody follows: send it with /v1/worker/output


class WorkResult(Model, frozen=True, kw_only=True):
    job_id: str
    attempt: int
    result: JobResult


class Output(Model, frozen=True, kw_only=True):
    """What a watched attempt wrote since `offset`. The server keeps the last MiB of each stream while it runs."""

    job_id: str
    attempt: int
    stream: str  # "stdout" | "stderr"
    offset: int
    data: bytes


class Leave(Model, frozen=True, kw_only=True):
    running: list[Running] = []  # attempts handed back unfinished


class Ack(Model, frozen=True, kw_only=True):
    ok: bool = True
