-- Administration of users and groups, modes, and the audit log.

-- name: member_forget
-- A login leaves all its groups.
DELETE FROM members WHERE login = :login;

-- name: member_add
-- A login joins a group.
INSERT OR IGNORE INTO members (group_name, login) VALUES (:name, :login);

-- name: user_change
-- Another role, password or activity for a login.
UPDATE users SET role = :role, password_hash = :password_hash, active = :active WHERE login = :login;

-- name: user_admins
-- How many administrators can act.
SELECT count(*) AS count FROM users WHERE role = 'admin' AND active;

-- name: user_end_sessions
-- Forget the tokens of a login, but for one (its hash).
DELETE FROM sessions WHERE login = :login AND token_hash <> :kept;

-- name: group_add
-- A new group.
INSERT INTO groups (name, created_at) VALUES (:name, :now);

-- name: group_get
-- One group, with its members as a JSON list.
SELECT name, created_at, (SELECT json_group_array(login) FROM (SELECT login FROM members WHERE group_name = name
                                                              ORDER BY login)) AS members
FROM groups WHERE name = :name;

-- name: group_list
-- The groups of a login, or all when it is ''.
SELECT name, created_at, (SELECT json_group_array(login) FROM (SELECT login FROM members WHERE group_name = name
                                                              ORDER BY login)) AS members
FROM groups WHERE :login = '' OR name IN (SELECT group_name FROM members WHERE login = :login) ORDER BY name;

-- name: group_empty
-- A group loses its members.
DELETE FROM members WHERE group_name = :name;

-- name: app_mode
-- Who may do what with an app.
UPDATE apps SET mode = :mode, group_name = :group WHERE id = :id;

-- name: datum_mode
-- Who may do what with a datum.
UPDATE data SET mode = :mode, group_name = :group WHERE id = :id;

-- name: job_mode
-- Who may do what with a job.
UPDATE jobs SET mode = :mode, owner_group = :group, revision = revision + 1 WHERE id = :id;

-- name: audit_add
-- An administrator did something.
INSERT INTO audit (at, who, act, subject, detail) VALUES (:now, :who, :act, :subject, :detail);

-- name: audit_list
-- What administrators did since then, newest first.
SELECT at, who, act, subject, detail FROM audit WHERE at > :since ORDER BY seq DESC LIMIT :limit;

-- name: job_counts
-- How many jobs are in each state; the replicas of one count as that one.
SELECT state, count(*) AS count FROM jobs WHERE family = '' GROUP BY state;
