"""The part of the wire that is about jobs: what is asked, where it stands, what came of it. Import it from `wire`."""

from __future__ import annotations

import enum

from xwhep.common.wire_identity import Model

# What a server takes. A client says so before it uploads anything.
MAX_PRIORITY = 100
MAX_TRIES = 100
MAX_AFTER = 1024
MAX_REPLICAS = 64
MAX_BATCH = 100_000  # jobs, and replicas, in one request
MAX_BATCH_BYTES = 64 * 1024 * 1024


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


class Needs(Model, frozen=True, kw_only=True):
    """What a machine must have to get a job; empty or 0 asks for nothing."""

    os: str = ""
    arch: str = ""
    cpu_count: int = 0
    ram_bytes: int = 0
    disk_bytes: int = 0
    shared: list[str] = []  # names of shared assets, all of them
    labels: list[str] = []  # labels of the worker, all of them
    worker_group: str = ""
    worker: str = ""  # id or name of the one worker that is to run it


class JobSpec(Model, frozen=True, kw_only=True):
    app: str
    args: list[str] = []
    env: dict[str, str] = {}
    stdin: str = ""  # id or name of a datum; empty: no input
    data: list[str] = []  # ids or names of data placed in the job's folder under their names
    files: dict[str, str] = {}  # the same under other names: path in the job's folder -> id or name of a datum
    label: str = ""
    needs: Needs = Needs()
    priority: int = 0  # -100 to 100, higher first
    deadline_at: float = 0.0  # a job not started by then fails; 0: no deadline
    wall_clock_s: float = 0.0  # how long an attempt may run; 0: the server's default
    max_attempts: int = 3  # how many attempts may end without a result of the program
    group: str = ""  # a word that jobs share, to list and cancel them together
    session: str = ""  # the same, of a second kind
    after: list[str] = []  # ids of jobs that must be completed first; "#N" in a batch is its job N, counted from 0
    replicas: int = 1  # how many workers run it independently
    quorum: int = 0  # how many equal results make it complete; 0: more than half of the replicas
    mode: int = 0o700
    owner_group: str = ""  # the owning group, for rights
    key: str = ""  # a random word; the same word again submits nothing and returns the first job


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


class Replica(Model, frozen=True, kw_only=True):
    """One of the independent runs of a job with replicas."""

    number: int
    worker: str
    state: str  # a JobState
    digest: str = ""  # sha256 over the exit code and the sorted (path, sha256) of stdout and files
    agreed: bool | None = None  # whether its result is the one that won; None while that is open


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
    waits: str = ""  # what a waiting job waits for, in words
    not_before: float = 0.0  # when the back-off after a lost attempt ends
    runs: list[Replica] = []  # of a job with replicas; empty in lists of jobs


class JobBatch(Model, frozen=True, kw_only=True):
    """`key` is as that of a JobSpec, for all of them; the jobs have none of their own."""

    jobs: list[JobSpec]  # at most MAX_BATCH
    key: str = ""


class JobIds(Model, frozen=True, kw_only=True):
    ids: list[str]


class CancelSpec(Model, frozen=True, kw_only=True):
    """Exactly one of the three; those that have ended stay as they are."""

    group: str = ""
    session: str = ""
    ids: list[str] = []


class DeleteSpec(CancelSpec, frozen=True, kw_only=True):
    """Exactly one of the three; while one of the jobs has not ended, none is deleted."""


class JobSummary(Model, frozen=True, kw_only=True):
    """How many jobs of a group or session are in each state; states without any are left out."""

    counts: dict[str, int]
    version: str  # differs when a count does; see ?seen=


class Failing(Model, frozen=True, kw_only=True):
    need: str  # a field of Needs, or "app", "quarantine", "distinct_worker" ...
    wanted: str
    workers: int  # how many workers that are there do not have it


class Explanation(Model, frozen=True, kw_only=True):
    """Why a job is where it is. `workers` are there; `fitting` of them could run it, `busy` of those have no free
    slot."""

    job_id: str
    state: JobState
    text: str
    workers: int = 0
    fitting: int = 0
    busy: int = 0
    failing: list[Failing] = []


class OutputPiece(Model, frozen=True, kw_only=True):
    offset: int  # of the first byte of `data` in the stream; more than asked when the beginning was not kept
    data: bytes
    final: bool = False  # nothing comes after this
    attempt: int = 0  # whose output it is; 0 while nothing is known of it
