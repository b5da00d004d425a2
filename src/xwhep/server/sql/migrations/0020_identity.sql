-- Rights, groups, tokens that can be listed and revoked, whose jobs a worker runs, and the audit log.

ALTER TABLE users ADD COLUMN active INTEGER NOT NULL DEFAULT 1; -- 0: can neither log in nor use a token

CREATE TABLE groups (
    name       TEXT PRIMARY KEY,
    created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    group_name TEXT NOT NULL REFERENCES groups (name),
    login      TEXT NOT NULL REFERENCES users (login),
    PRIMARY KEY (group_name, login)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_login ON members (login);

-- Nine bits as a file's, decimal because SQLite knows no octal: 493 is 0755, 448 is 0700. group_name: the owning group.
ALTER TABLE apps ADD COLUMN mode INTEGER NOT NULL DEFAULT 493;
ALTER TABLE apps ADD COLUMN group_name TEXT NOT NULL DEFAULT '';
ALTER TABLE data ADD COLUMN mode INTEGER NOT NULL DEFAULT 448;
ALTER TABLE data ADD COLUMN group_name TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN mode INTEGER NOT NULL DEFAULT 448;
ALTER TABLE jobs ADD COLUMN owner_group TEXT NOT NULL DEFAULT '';

ALTER TABLE sessions ADD COLUMN id TEXT NOT NULL DEFAULT '';     -- what people name the token by
ALTER TABLE sessions ADD COLUMN created_at REAL NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN last_used_at REAL NOT NULL DEFAULT 0;
UPDATE sessions SET id = lower(hex(randomblob(8)));
CREATE UNIQUE INDEX sessions_by_id ON sessions (id);
CREATE INDEX sessions_by_login ON sessions (login);

ALTER TABLE workers ADD COLUMN visibility TEXT NOT NULL DEFAULT 'public'; -- public, group, private
ALTER TABLE workers ADD COLUMN group_name TEXT NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN owner TEXT NOT NULL DEFAULT '';            -- login; '' when it is the deployment's
ALTER TABLE workers ADD COLUMN rotate INTEGER NOT NULL DEFAULT 0;         -- 1: the next heartbeat brings a new token
ALTER TABLE workers ADD COLUMN next_hash TEXT NOT NULL DEFAULT '';        -- of that token, until it is used
ALTER TABLE workers ADD COLUMN old_until REAL NOT NULL DEFAULT 0;         -- when the old one ends all the same; 0: never
CREATE INDEX workers_by_next_hash ON workers (next_hash) WHERE next_hash <> '';

CREATE TABLE join_tokens (
    id           TEXT PRIMARY KEY,
    token_hash   TEXT NOT NULL UNIQUE,
    visibility   TEXT NOT NULL,
    owner        TEXT NOT NULL,
    group_name   TEXT NOT NULL,
    created_at   REAL NOT NULL,
    expires_at   REAL NOT NULL,             -- 0: never
    last_used_at REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    who     TEXT NOT NULL,
    act     TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
