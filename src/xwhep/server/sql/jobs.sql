-- Jobs. Every change of state sets the state that transitions.py names, and raises the revision.

-- name: job_add
-- A newly submitted job.
INSERT INTO jobs (id, owner, app_id, spec, inputs, state, revision, attempt, losses, worker_id, worker_name,
                  lease_until, avoid_worker, avoid_until, created_at, started_at, ended_at, result, reason)
VALUES (:id, :owner, :app_id, :spec, :inputs, :state, 1, 0, 0, '', '', 0, '', 0, :now, 0, 0, '', '');

-- name: job_blob_note
-- A job names a blob.
INSERT OR IGNORE INTO job_blobs (sha256, job_id, direction) VALUES (:sha256, :job_id, :direction);

-- name: job_get
-- One job, all of it.
SELECT * FROM jobs WHERE id = :id;

-- name: job_list
-- The newest jobs that a login with its groups (a JSON list) may read ('' for all), in a state ('' for any).
-- rights.py says the same of one job; hardly any job has bits for others, so the subquery is rarely asked.
SELECT * FROM jobs
WHERE (:owner = '' OR CASE
           WHEN owner = :owner THEN mode & 256
           WHEN mode & 36 = 0 THEN 0
           ELSE EXISTS (
               SELECT 1 FROM apps a WHERE a.id = jobs.app_id
                  AND CASE WHEN jobs.owner_group IN (SELECT value FROM json_each(:groups)) THEN jobs.mode & a.mode & 32
                           ELSE jobs.mode & a.mode & 4 END
                  AND CASE WHEN a.owner = :owner THEN a.mode & 256
                           WHEN a.group_name IN (SELECT value FROM json_each(:groups)) THEN a.mode & 32
                           ELSE a.mode & 4 END) END)
  AND (:state = '' OR state = :state)
ORDER BY seq DESC LIMIT :limit;

-- name: job_next
-- The oldest pending job of the given apps (a JSON list of ids) that this worker may take now.
-- One look into the index for each app: an IN with ORDER BY would sort every pending job.
SELECT (SELECT j.id FROM jobs j
        WHERE j.state = 'pending' AND j.app_id = a.value
          AND (j.avoid_worker <> :worker_id OR j.avoid_until <= :now)
          AND (:serves = '' OR j.owner IN (SELECT value FROM json_each(:serves)))
        ORDER BY j.seq LIMIT 1) AS id,
       (SELECT j.seq FROM jobs j
        WHERE j.state = 'pending' AND j.app_id = a.value
          AND (j.avoid_worker <> :worker_id OR j.avoid_until <= :now)
          AND (:serves = '' OR j.owner IN (SELECT value FROM json_each(:serves)))
        ORDER BY j.seq LIMIT 1) AS seq
FROM json_each(:app_ids) a WHERE seq IS NOT NULL ORDER BY seq LIMIT 1;

-- name: job_lease
-- A pending job becomes a worker's next attempt.
UPDATE jobs SET state = :state, revision = revision + 1, attempt = attempt + 1, worker_id = :worker_id,
                worker_name = :worker_name, lease_until = :until, started_at = :now, reason = ''
WHERE id = :id;

-- name: job_renew
-- The lease of an attempt that is still this worker's lasts longer.
UPDATE jobs SET lease_until = max(lease_until, :until)
WHERE id = :id AND state = 'running' AND worker_id = :worker_id AND attempt = :attempt;

-- name: job_extend_all
-- Every lease lasts at least until then: the server was away, so no worker could renew.
UPDATE jobs SET lease_until = :until WHERE state = 'running' AND lease_until < :until;

-- name: job_end
-- A job reaches a final state.
UPDATE jobs SET state = :state, revision = revision + 1, ended_at = :now, result = :result, reason = :reason
WHERE id = :id;

-- name: job_lose
-- A lease ran out.
UPDATE jobs SET state = :state, revision = revision + 1, losses = losses + 1, reason = :reason,
                avoid_worker = worker_id, avoid_until = :avoid_until
WHERE id = :id;

-- name: job_return
-- A lost job, or one handed back, may run again.
UPDATE jobs SET state = :state, revision = revision + 1, lease_until = 0, reason = :reason WHERE id = :id;

-- name: job_expired
-- The jobs whose lease ran out, longest ago first.
SELECT id, app_id, worker_id, worker_name, attempt, losses FROM jobs
WHERE state = 'running' AND lease_until <= :now ORDER BY lease_until LIMIT :limit;

-- name: job_app_waits
-- Whether an app has a pending job.
SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'pending' AND app_id = :app_id) AS waits;

-- name: job_delete
-- Forget a job, and with it what it named.
DELETE FROM jobs WHERE id = :id;
