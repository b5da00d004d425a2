-- The first schema. Times are UTC seconds since 1970; hashes are lowercase hex sha256; JSON columns hold wire models.

CREATE TABLE users (
    login         TEXT PRIMARY KEY,
    role          TEXT NOT NULL CHECK (role IN ('admin', 'user')),
    password_hash TEXT NOT NULL,            -- argon2id, with its parameters and salt
    created_at    REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,            -- the token itself is never stored
    login      TEXT NOT NULL REFERENCES users (login),
    expires_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE workers (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,             -- what the machine calls itself; need not be unique
    token_hash   TEXT NOT NULL UNIQUE,
    machine      TEXT NOT NULL,             -- Machine
    enrolled_at  REAL NOT NULL,
    last_seen_at REAL NOT NULL,
    left_at      REAL NOT NULL DEFAULT 0    -- when it stopped in good order; 0 while it has not
) STRICT, WITHOUT ROWID;

CREATE TABLE apps (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    owner      TEXT NOT NULL REFERENCES users (login),
    shared     TEXT NOT NULL DEFAULT '',    -- name of an asset that workers have installed; '' when it has binaries
    binaries   TEXT NOT NULL DEFAULT '[]',  -- list[Binary]
    created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Which blobs an app's binaries are; the same facts as apps.binaries, in the form that rights are checked by.
CREATE TABLE app_blobs (
    sha256 TEXT NOT NULL,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    PRIMARY KEY (sha256, app_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX app_blobs_by_app ON app_blobs (app_id);

CREATE TABLE data (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL REFERENCES users (login),
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (owner, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX data_by_sha256 ON data (sha256);

-- Who has proved, by uploading it, to have a blob's content. Naming a blob in a datum, app or result needs such a proof,
-- else knowing a hash would be enough to read another user's file.
CREATE TABLE blob_holders (
    sha256 TEXT NOT NULL,
    holder TEXT NOT NULL,                   -- user:LOGIN or worker:ID
    PRIMARY KEY (sha256, holder)
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    seq          INTEGER PRIMARY KEY,       -- the order of submission
    id           TEXT NOT NULL UNIQUE,
    owner        TEXT NOT NULL REFERENCES users (login),
    app_id       TEXT NOT NULL REFERENCES apps (id),
    spec         TEXT NOT NULL,             -- JobSpec
    inputs       TEXT NOT NULL,             -- Inputs: what stdin and data named at submission
    state        TEXT NOT NULL,             -- JobState; transitions.py is the only way from one to another
    revision     INTEGER NOT NULL,          -- grows with every change
    attempt      INTEGER NOT NULL,          -- how often it was leased; fences every write of a worker
    losses       INTEGER NOT NULL,          -- how many of the attempts ended with a lost worker
    worker_id    TEXT NOT NULL,             -- of the current or last attempt
    worker_name  TEXT NOT NULL,
    lease_until  REAL NOT NULL,             -- of the current attempt
    avoid_worker TEXT NOT NULL,             -- the worker that lost it last; others come first ...
    avoid_until  REAL NOT NULL,             -- ... until then
    created_at   REAL NOT NULL,
    started_at   REAL NOT NULL,
    ended_at     REAL NOT NULL,
    result       TEXT NOT NULL,             -- JobResult, '' while there is none
    reason       TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_pending ON jobs (app_id, seq) WHERE state = 'pending';
CREATE INDEX jobs_leased_until ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_leased_by ON jobs (worker_id) WHERE state = 'running';
CREATE INDEX jobs_by_owner ON jobs (owner, seq);

-- Which blobs a job names, for rights: 'in' may be read by the worker it is leased to, both by its owner.
CREATE TABLE job_blobs (
    sha256    TEXT NOT NULL,
    job_id    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    PRIMARY KEY (sha256, job_id, direction)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_blobs_by_job ON job_blobs (job_id);
