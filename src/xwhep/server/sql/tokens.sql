-- Tokens: sessions, workers' own, join tokens. None is stored, only hashes.

-- name: token_sessions
-- The sessions of a login, or of all when it is ''.
SELECT id, login AS subject, created_at, expires_at, last_used_at, token_hash FROM sessions
WHERE (:login = '' OR login = :login) AND expires_at > :now ORDER BY created_at, id;

-- name: token_workers
-- The workers of a login, or all when it is '', whose token was not revoked.
SELECT id, name AS subject, enrolled_at AS created_at, 0.0 AS expires_at, last_seen_at AS last_used_at, '' AS token_hash
FROM workers WHERE (:login = '' OR owner = :login) AND token_hash NOT LIKE 'revoked%' ORDER BY enrolled_at, id;

-- name: token_joins
-- The join tokens of a login, or all when it is ''.
SELECT id, iif(owner <> '', owner, iif(group_name <> '', 'group ' || group_name, 'everyone')) AS subject, created_at,
       expires_at, last_used_at, '' AS token_hash
FROM join_tokens
WHERE (:login = '' OR owner = :login) AND (expires_at = 0 OR expires_at > :now) ORDER BY created_at, id;

-- name: session_revoke
-- A session ends, if it is that login's (anyone's when '').
DELETE FROM sessions WHERE id = :id AND (:login = '' OR login = :login) RETURNING login AS subject;

-- name: session_used
-- When a session was used last.
UPDATE sessions SET last_used_at = :at WHERE token_hash = :token_hash;

-- name: worker_revoke
-- A worker's tokens end, if it is that login's (anyone's when ''). What it ran is lost when its leases run out.
UPDATE workers SET token_hash = 'revoked ' || id, next_hash = '', rotate = 0, old_until = 0, left_at = :now
WHERE id = :id AND token_hash NOT LIKE 'revoked%' AND (:login = '' OR owner = :login) RETURNING name AS subject;

-- name: worker_get
-- Who a worker is.
SELECT id, name, visibility, group_name, owner, rotate, draining FROM workers WHERE id = :id;

-- name: worker_change
-- Whose jobs a worker runs, and whether it gets any.
UPDATE workers SET visibility = :visibility, group_name = :group, draining = :draining WHERE id = :id;

-- name: worker_rotate
-- The next heartbeat of a worker brings a new token.
UPDATE workers SET rotate = 1 WHERE id = :id;

-- name: worker_unquarantine
-- A worker gets jobs again as if it had never failed one.
UPDATE workers SET failures_in_row = 0, quarantines = 0, quarantined_until = 0 WHERE id = :id;

-- name: worker_next_token
-- That token is on its way; the old one ends when it is used, and soon in any case.
UPDATE workers SET next_hash = :next_hash, old_until = iif(old_until = 0, :old_until, old_until) WHERE id = :id;

-- name: worker_promote
-- The new token was used.
UPDATE workers SET token_hash = next_hash, next_hash = '', rotate = 0, old_until = 0
WHERE id = :id AND next_hash = :next_hash AND next_hash <> '';

-- name: join_add
-- A new join token.
INSERT INTO join_tokens (id, token_hash, visibility, owner, group_name, created_at, expires_at)
VALUES (:id, :token_hash, :visibility, :owner, :group, :now, :expires_at);

-- name: join_get
-- What a join token makes, unless it has expired.
SELECT id, visibility, owner, group_name, 0 AS draining FROM join_tokens
WHERE token_hash = :token_hash AND (expires_at = 0 OR expires_at > :now);

-- name: join_used
-- A join token enrolled a worker.
UPDATE join_tokens SET last_used_at = :now WHERE id = :id;

-- name: join_revoke
-- A join token ends, if it is that login's (anyone's when '').
DELETE FROM join_tokens WHERE id = :id AND (:login = '' OR owner = :login)
RETURNING iif(owner <> '', owner, iif(group_name <> '', 'group ' || group_name, 'everyone')) AS subject;

-- name: join_forget
-- The deployment's own join token is another now.
DELETE FROM join_tokens WHERE id = :id AND token_hash <> :token_hash;
