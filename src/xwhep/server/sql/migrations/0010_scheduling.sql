-- Matching by needs, priorities, deadlines, groups, dependencies, replicas, quarantine.

-- What a worker is matched with: all pending jobs of one kind fit the same workers.
CREATE TABLE kinds (
    id      TEXT PRIMARY KEY,                -- a hash of the rest
    app_id  TEXT NOT NULL REFERENCES apps (id),
    owner   TEXT NOT NULL,                   -- of the jobs: private workers run those of one owner
    replica INTEGER NOT NULL,                -- number of the replica, so that those of one job stand in different queues
    needs   TEXT NOT NULL                    -- Needs
) STRICT, WITHOUT ROWID;

DROP INDEX jobs_pending;
ALTER TABLE jobs DROP COLUMN avoid_worker;
ALTER TABLE jobs DROP COLUMN avoid_until;
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT '';          -- '' for a job with replicas: they run, not it
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;    -- higher first
ALTER TABLE jobs ADD COLUMN deadline_at REAL NOT NULL DEFAULT 0;    -- not started by then: failed; 0 for none
ALTER TABLE jobs ADD COLUMN overrun_at REAL NOT NULL DEFAULT 0;     -- of the running attempt: given up then
ALTER TABLE jobs ADD COLUMN not_before REAL NOT NULL DEFAULT 0;     -- end of the back-off; 0 for none
ALTER TABLE jobs ADD COLUMN open_after INTEGER NOT NULL DEFAULT 0;  -- how many jobs it comes after are not completed
ALTER TABLE jobs ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;    -- attempts that ended because a worker could not
ALTER TABLE jobs ADD COLUMN avoids INTEGER NOT NULL DEFAULT 0;      -- whether job_avoids has rows of it
ALTER TABLE jobs ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN job_group TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN session TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN family TEXT NOT NULL DEFAULT '';        -- of a replica: the job it is a run of
ALTER TABLE jobs ADD COLUMN replica INTEGER NOT NULL DEFAULT 0;     -- its number, from 1
ALTER TABLE jobs ADD COLUMN digest TEXT NOT NULL DEFAULT '';        -- of its result, by content
ALTER TABLE jobs ADD COLUMN agreed INTEGER;                         -- whether the quorum has that result; NULL while open

INSERT INTO kinds (id, app_id, owner, replica, needs)
SELECT DISTINCT app_id || '/' || owner, app_id, owner, 0, '{}' FROM jobs;
UPDATE jobs SET kind = app_id || '/' || owner, label = ifnull(json_extract(spec, '$.label'), '');

CREATE INDEX jobs_pending ON jobs (kind, priority DESC, seq) WHERE state = 'pending';
CREATE INDEX jobs_back_off ON jobs (not_before) WHERE state = 'waiting' AND not_before > 0;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state IN ('waiting', 'pending') AND deadline_at > 0;
CREATE INDEX jobs_overrun ON jobs (overrun_at) WHERE state = 'running';
CREATE INDEX jobs_by_group ON jobs (job_group, seq) WHERE job_group <> '';
CREATE INDEX jobs_by_session ON jobs (session, seq) WHERE session <> '';
CREATE INDEX jobs_by_family ON jobs (family, replica) WHERE family <> '';
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at > 0;

-- Who may not run a job: the workers that lost it, for a while; those that run another of its replicas, for ever.
CREATE TABLE job_avoids (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    party  TEXT NOT NULL,                    -- a worker's id, or user:LOGIN for every worker of a user
    until  REAL NOT NULL,
    PRIMARY KEY (job_id, party)
) STRICT, WITHOUT ROWID;

-- Which job comes after which.
CREATE TABLE job_after (
    before_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    job_id    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (before_id, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_after_by_job ON job_after (job_id);

-- Which apps worked on which workers: a program that fails everywhere is not the worker's fault.
CREATE TABLE app_successes (
    app_id    TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    worker_id TEXT NOT NULL,
    PRIMARY KEY (app_id, worker_id)
) STRICT, WITHOUT ROWID;

ALTER TABLE workers ADD COLUMN failures_in_row INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN quarantines INTEGER NOT NULL DEFAULT 0;      -- in a row; above 0 it is on probation
ALTER TABLE workers ADD COLUMN quarantined_until REAL NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN outvoted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN draining INTEGER NOT NULL DEFAULT 0;
