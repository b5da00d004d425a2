-- Users, their sessions, and workers.

-- name: user_add
-- A new login.
INSERT INTO users (login, role, password_hash, created_at) VALUES (:login, :role, :password_hash, :now);

-- name: user_get
-- One account, with what its password is checked against.
SELECT login, role, active, password_hash,
       (SELECT json_group_array(group_name) FROM (SELECT group_name FROM members WHERE members.login = users.login
                                                  ORDER BY group_name)) AS groups
FROM users WHERE login = :login;

-- name: user_list
-- Every account, by login.
SELECT login, role, active,
       (SELECT json_group_array(group_name) FROM (SELECT group_name FROM members WHERE members.login = users.login
                                                  ORDER BY group_name)) AS groups
FROM users ORDER BY login;

-- name: session_add
-- A token that acts for a login until it expires.
INSERT INTO sessions (token_hash, login, expires_at, id, created_at)
VALUES (:token_hash, :login, :expires_at, :id, :now);

-- name: session_get
-- The account a token acts for, unless it has expired or the account is not active.
SELECT u.login, u.role, s.expires_at,
       (SELECT json_group_array(m.group_name) FROM members m WHERE m.login = u.login) AS groups
FROM sessions s JOIN users u ON u.login = s.login
WHERE s.token_hash = :token_hash AND s.expires_at > :now AND u.active;

-- name: session_expire
-- Forget the tokens that no longer act for anyone.
DELETE FROM sessions WHERE expires_at <= :now;

-- name: worker_add
-- A newly enrolled worker.
INSERT INTO workers (id, name, token_hash, machine, enrolled_at, last_seen_at, visibility, group_name, owner)
VALUES (:id, :name, :token_hash, :machine, :now, :now, :visibility, :group, :owner);

-- name: worker_by_token
-- The worker a token belongs to: its own, or the one that a rotation offered.
SELECT id, name, visibility, group_name, owner, draining, 0 AS is_next FROM workers
WHERE token_hash = :token_hash AND (old_until = 0 OR old_until > :now)
UNION ALL
SELECT id, name, visibility, group_name, owner, draining, 1 AS is_next FROM workers
WHERE next_hash = :token_hash AND next_hash <> '' LIMIT 1;

-- name: worker_list
-- Every worker, with the ids of the jobs leased to it as a JSON list of [id, owner].
SELECT w.id, w.name, w.machine, w.last_seen_at, w.left_at, w.visibility, w.group_name, w.owner,
       w.failures_in_row, w.quarantined_until, w.outvoted, w.draining,
       (SELECT json_group_array(json_array(iif(j.family = '', j.id, j.family), j.owner)) FROM jobs j
        WHERE j.worker_id = w.id AND j.state = 'running') AS running
FROM workers w ORDER BY w.name, w.id;

-- name: worker_seen
-- A worker was heard of; whoever comes back has not left.
UPDATE workers SET last_seen_at = :seen_at, machine = :machine, left_at = 0 WHERE id = :id;

-- name: worker_left
-- A worker stops in good order.
UPDATE workers SET left_at = :now, last_seen_at = :now WHERE id = :id;

-- name: worker_standing
-- Whether a worker may have another job: it is neither in quarantine nor drained; on probation it has one at a time.
SELECT draining = 0 AND quarantined_until <= :now AND (quarantines = 0 OR NOT EXISTS (
           SELECT 1 FROM jobs WHERE worker_id = :id AND state = 'running')) AS may_run, quarantines > 0 AS on_probation
FROM workers WHERE id = :id;

-- name: worker_succeeded
-- A job ended well on a worker: what it did before is forgiven.
UPDATE workers SET failures_in_row = 0, quarantines = 0
WHERE id = :id AND (failures_in_row > 0 OR quarantines > 0);

-- name: worker_failed
-- A worker failed or lost a job.
UPDATE workers SET failures_in_row = failures_in_row + 1 WHERE id = :id;

-- name: worker_outvoted
-- Other workers contradicted a worker's result.
UPDATE workers SET failures_in_row = failures_in_row + 1, outvoted = outvoted + 1 WHERE id = :id;

-- name: worker_quarantine
-- A worker that failed too often in a row gets no jobs for a while, twice as long as the last time. On probation
-- (quarantines > 0) once is too often; in quarantine what else it fails comes from before.
UPDATE workers SET quarantined_until = :now + :first_s * (1 << min(quarantines, 10)), quarantines = quarantines + 1
WHERE id = :id AND quarantined_until <= :now AND (failures_in_row >= :limit OR quarantines > 0);
