-- Jobs. Every change of state sets the state that transitions.py names, and raises the revision.

-- name: kind_note
-- A kind of job that may be new.
INSERT OR IGNORE INTO kinds (id, app_id, owner, replica, needs) VALUES (:id, :app_id, :owner, :replica, :needs);

-- name: kind_list_alive
-- The kinds of jobs that have not ended.
SELECT id, app_id, owner, replica, needs FROM kinds
WHERE id IN (SELECT kind FROM jobs WHERE state IN ('waiting', 'pending', 'running', 'lost'));

-- name: kind_waits
-- Whether a kind has a pending job.
SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'pending' AND kind = :kind) AS waits;

-- name: job_kinds
-- What a job that has not ended is matched by; several kinds when it has replicas.
SELECT DISTINCT k.id, k.app_id, k.owner, k.replica, k.needs FROM jobs j JOIN kinds k ON k.id = j.kind
WHERE (j.id = :id OR j.family = :id) AND j.state IN ('waiting', 'pending', 'running', 'lost');

-- name: job_add
-- A newly submitted job, or a replica of one.
INSERT INTO jobs (id, owner, app_id, spec, inputs, state, revision, attempt, losses, worker_id, worker_name,
                  lease_until, created_at, started_at, ended_at, result, reason, kind, priority, deadline_at,
                  open_after, label, job_group, session, family, replica, mode, owner_group, submit_key, submit_digest)
VALUES (:id, :owner, :app_id, :spec, :inputs, :state, 1, 0, 0, '', '', 0, :now, 0, 0, '', '', :kind, :priority,
        :deadline_at, :open_after, :label, :job_group, :session, :family, :replica, :mode, :owner_group, :submit_key,
        :submit_digest);

-- name: job_ids_of_key
-- The jobs that an owner's submission with a key made, in its order.
SELECT id, submit_digest FROM jobs WHERE owner = :owner AND submit_key = :key AND submit_key <> '' ORDER BY seq;

-- name: job_blob_note
-- A job names a blob.
INSERT OR IGNORE INTO job_blobs (sha256, job_id, direction) VALUES (:sha256, :job_id, :direction);

-- name: job_blob_copy
-- A job names what another names.
INSERT OR IGNORE INTO job_blobs (sha256, job_id, direction)
SELECT sha256, :to_id, direction FROM job_blobs WHERE job_id = :from_id AND direction = :direction;

-- name: job_get
-- One job, all of it.
SELECT * FROM jobs WHERE id = :id;

-- name: job_for_result
-- Of one job what its result is checked against, and what depends on its end.
SELECT seq, id, state, kind, avoids, attempt, losses, refusals, worker_id, worker_name, app_id, spec, family, result,
       EXISTS (SELECT 1 FROM job_after a WHERE a.before_id = jobs.id) AS awaited
FROM jobs WHERE id = :id;

-- name: job_list
-- The newest jobs that a login with its groups (a JSON list) may read ('' for all), in a state, group,
-- session and with a label ('' for any), before a job.
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
  AND (:state = '' OR state = :state) AND family = ''
  AND (:job_group = '' OR job_group = :job_group) AND (:session = '' OR session = :session)
  AND (:label = '' OR label = :label) AND (:before = '' OR seq < (SELECT b.seq FROM jobs b WHERE b.id = :before))
ORDER BY seq DESC LIMIT :limit;

-- name: job_ids_of_group
-- The jobs of an owner ('' for all) in a group that have not ended.
SELECT id FROM jobs
WHERE job_group = :name AND job_group <> '' AND (:owner = '' OR owner = :owner) AND family = ''
  AND state IN ('waiting', 'pending', 'running', 'lost') ORDER BY seq;

-- name: job_ids_of_session
-- The same for a session.
SELECT id FROM jobs
WHERE session = :name AND session <> '' AND (:owner = '' OR owner = :owner) AND family = ''
  AND state IN ('waiting', 'pending', 'running', 'lost') ORDER BY seq;

-- name: job_all_of_group
-- Every job of an owner ('' for all) in a group.
SELECT id FROM jobs
WHERE job_group = :name AND job_group <> '' AND (:owner = '' OR owner = :owner) AND family = '' ORDER BY seq;

-- name: job_all_of_session
-- The same for a session.
SELECT id FROM jobs
WHERE session = :name AND session <> '' AND (:owner = '' OR owner = :owner) AND family = '' ORDER BY seq;

-- name: job_count_group
-- How many jobs of an owner ('' for all) in a group are in each state.
SELECT state, count(*) AS jobs FROM jobs
WHERE job_group = :name AND job_group <> '' AND (:owner = '' OR owner = :owner) AND family = '' GROUP BY state;

-- name: job_count_session
-- The same for a session.
SELECT state, count(*) AS jobs FROM jobs
WHERE session = :name AND session <> '' AND (:owner = '' OR owner = :owner) AND family = '' GROUP BY state;

-- name: job_next
-- The pending jobs of the given kinds (a JSON list) that come first and that this worker may take now.
-- One look into the index for each kind, and not beyond the first 200, or a long queue of replicas whose siblings this
-- worker ran would stop the server.
SELECT j.seq, j.id, j.state, j.kind, j.avoids, j.attempt, j.app_id, j.spec, j.inputs, j.family
FROM json_each(:kinds) k JOIN jobs j ON j.seq IN (
    SELECT c.seq FROM (
        SELECT p.seq, p.id, p.avoids FROM jobs p WHERE p.state = 'pending' AND p.kind = k.value
        ORDER BY p.priority DESC, p.seq LIMIT 200) c
    WHERE c.avoids = 0 OR NOT EXISTS (
        SELECT 1 FROM job_avoids a
        WHERE a.job_id = c.id AND a.party IN (:worker_id, :user_party) AND a.until > :now)
    LIMIT :most)
ORDER BY j.priority DESC, j.seq LIMIT :most;

-- name: kinds_waiting
-- How many jobs of the given kinds (a JSON list) are pending; counted up to a limit.
SELECT count(*) AS count FROM (
    SELECT 1 FROM json_each(:kinds) k JOIN jobs j ON j.state = 'pending' AND j.kind = k.value LIMIT :limit);

-- name: job_lease
-- A pending job becomes a worker's next attempt.
UPDATE jobs SET state = :state, revision = revision + 1, attempt = attempt + 1, worker_id = :worker_id,
                worker_name = :worker_name, lease_until = :until, overrun_at = :overrun_at, started_at = :now,
                reason = ''
WHERE seq = :seq;

-- name: job_renew
-- The lease of an attempt that is still this worker's lasts longer.
UPDATE jobs SET lease_until = max(lease_until, :until)
WHERE id = :id AND state = 'running' AND worker_id = :worker_id AND attempt = :attempt;

-- name: job_is_current
-- Whether an attempt is still this worker's.
SELECT 1 AS current FROM jobs
WHERE id = :id AND state = 'running' AND worker_id = :worker_id AND attempt = :attempt;

-- name: job_extend_all
-- Every lease lasts at least until then: the server was away, so no worker could renew.
UPDATE jobs SET lease_until = :until WHERE state = 'running' AND lease_until < :until;

-- name: job_end
-- A job reaches a final state.
UPDATE jobs SET state = :state, revision = revision + 1, ended_at = :now, result = :result, reason = :reason
WHERE seq = :seq;

-- name: job_lose
-- An attempt ended without a result: its lease ran out (lost = 1), or its worker could not run it (lost = 0).
UPDATE jobs SET state = :state, revision = revision + 1, losses = losses + :lost, refusals = refusals + 1 - :lost,
                reason = :reason
WHERE seq = :seq;

-- name: job_return
-- A lost job, one handed back, or one that waited may run again.
UPDATE jobs SET state = :state, revision = revision + 1, lease_until = 0, not_before = 0, reason = :reason
WHERE seq = :seq;

-- name: job_postpone
-- A lost job may run again later.
UPDATE jobs SET state = :state, revision = revision + 1, lease_until = 0, not_before = :not_before, reason = :reason
WHERE seq = :seq;

-- name: job_avoid
-- Someone may not run a job until then.
INSERT INTO job_avoids (job_id, party, until) VALUES (:job_id, :party, :until)
ON CONFLICT (job_id, party) DO UPDATE SET until = max(until, excluded.until);

-- name: job_avoids_note
-- A job has rows in job_avoids.
UPDATE jobs SET avoids = 1 WHERE id = :id;

-- name: job_avoided
-- Who may not run a job now.
SELECT party FROM job_avoids WHERE job_id = :id AND until > :now;

-- name: job_expired
-- The jobs whose lease ran out, longest ago first.
SELECT id, kind, worker_id, worker_name, attempt, losses FROM jobs
WHERE state = 'running' AND lease_until <= :now ORDER BY lease_until LIMIT :limit;

-- name: job_due
-- The jobs whose back-off ended.
SELECT * FROM jobs WHERE state = 'waiting' AND not_before > 0 AND not_before <= :now AND open_after = 0 LIMIT :limit;

-- name: job_too_late
-- The jobs that were not started by their deadline.
SELECT * FROM jobs
WHERE state IN ('waiting', 'pending') AND deadline_at > 0 AND deadline_at <= :now LIMIT :limit;

-- name: job_overrun
-- The jobs that run far longer than they may.
SELECT * FROM jobs WHERE state = 'running' AND overrun_at <= :now LIMIT :limit;

-- name: job_after_add
-- A job comes after another.
INSERT OR IGNORE INTO job_after (before_id, job_id) VALUES (:before_id, :job_id);

-- name: job_dependents
-- The jobs that wait for one.
SELECT j.* FROM job_after a JOIN jobs j ON j.id = a.job_id WHERE a.before_id = :before_id AND j.state = 'waiting';

-- name: job_after_met
-- One of the jobs that a job comes after is completed.
UPDATE jobs SET open_after = open_after - 1 WHERE id = :id;

-- name: job_family
-- The replicas of a job.
SELECT * FROM jobs WHERE family = :family ORDER BY replica;

-- name: job_replica
-- One of them.
SELECT * FROM jobs WHERE family = :family AND family <> '' AND replica = :number;

-- name: job_family_parties
-- Who ran replicas of a job.
SELECT DISTINCT a.party FROM jobs j JOIN job_avoids a ON a.job_id = j.id WHERE j.family = :family AND a.until > 1e14;

-- name: job_digest
-- What a replica's result is by content.
UPDATE jobs SET digest = :digest WHERE id = :id;

-- name: job_agreed
-- Whether a replica's result is the one that won.
UPDATE jobs SET agreed = :agreed WHERE id = :id;

-- name: job_credit
-- The job with replicas has the result of this worker.
UPDATE jobs SET worker_name = :worker_name, digest = :digest WHERE id = :id;

-- name: job_old
-- Jobs that ended before some time, the oldest first.
SELECT id FROM jobs WHERE ended_at > 0 AND ended_at < :before AND family = '' ORDER BY ended_at LIMIT :limit;

-- name: job_delete
-- Forget a job with its replicas, and with them what they named.
DELETE FROM jobs WHERE id = :id OR family = :id;

-- name: app_worked
-- An app ended well on a worker.
INSERT OR IGNORE INTO app_successes (app_id, worker_id) VALUES (:app_id, :worker_id);

-- name: app_works_elsewhere
-- Whether an app ended well on another worker.
SELECT 1 AS works FROM app_successes WHERE app_id = :app_id AND worker_id <> :worker_id LIMIT 1;
