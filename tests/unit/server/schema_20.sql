-- A state that the server of 2026-11 wrote: made by it, then dumped. Tokens are hashes of words that the test knows.
BEGIN TRANSACTION;
CREATE TABLE app_blobs (
    sha256 TEXT NOT NULL,
    app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    PRIMARY KEY (sha256, app_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "app_blobs" VALUES('bfdeaeb08cffb6a36438bcd12dda25417e3cdd36f1e7e482a2849d539225288b','3120661393033ed6');
CREATE TABLE app_successes (
    app_id    TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    worker_id TEXT NOT NULL,
    PRIMARY KEY (app_id, worker_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "app_successes" VALUES('3120661393033ed6','19df3946a1c15051');
CREATE TABLE apps (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    owner      TEXT NOT NULL REFERENCES users (login),
    shared     TEXT NOT NULL DEFAULT '',    -- name of an asset that workers have installed; '' when it has binaries
    binaries   TEXT NOT NULL DEFAULT '[]',  -- list[Binary]
    created_at REAL NOT NULL
, mode INTEGER NOT NULL DEFAULT 493, group_name TEXT NOT NULL DEFAULT '') STRICT, WITHOUT ROWID;
INSERT INTO "apps" VALUES('3120661393033ed6','tool','ann','','[{"os":"any","arch":"any","sha256":"bfdeaeb08cffb6a36438bcd12dda25417e3cdd36f1e7e482a2849d539225288b","size":21}]',1.79582740272538948062e+09,493,'');
CREATE TABLE audit (
    seq     INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    who     TEXT NOT NULL,
    act     TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;
INSERT INTO "audit" VALUES(1,1.79582740249152207371e+09,'console','user add','ann','role user');
INSERT INTO "audit" VALUES(2,1.79582740269146180151e+09,'admin','group add','lab','ann');
CREATE TABLE blob_holders (
    sha256 TEXT NOT NULL,
    holder TEXT NOT NULL, held_at REAL NOT NULL DEFAULT 0,                   -- user:LOGIN or worker:ID
    PRIMARY KEY (sha256, holder)
) STRICT, WITHOUT ROWID;
INSERT INTO "blob_holders" VALUES('bfdeaeb08cffb6a36438bcd12dda25417e3cdd36f1e7e482a2849d539225288b','user:ann',1.79582740272292280198e+09);
INSERT INTO "blob_holders" VALUES('522d45a4d29c8cc69b7525211ceccfaa45bd7c06385ac7c71e1231b5fe0d111f','user:ann',1.7958274027296648026e+09);
INSERT INTO "blob_holders" VALUES('d1beb4759ef9294ab3baf68ea10cab983283bfce072a82e20cb65db4dd973411','worker:19df3946a1c15051',1.79582740275501322744e+09);
CREATE TABLE data (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL REFERENCES users (login),
    name       TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    created_at REAL NOT NULL, mode INTEGER NOT NULL DEFAULT 448, group_name TEXT NOT NULL DEFAULT '',
    UNIQUE (owner, name)
) STRICT, WITHOUT ROWID;
INSERT INTO "data" VALUES('4bbad83e2c2d3e51','ann','table','522d45a4d29c8cc69b7525211ceccfaa45bd7c06385ac7c71e1231b5fe0d111f',8,1.79582740274153518679e+09,448,'');
CREATE TABLE groups (
    name       TEXT PRIMARY KEY,
    created_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "groups" VALUES('lab',1.79582740269146180151e+09);
CREATE TABLE job_after (
    before_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    job_id    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (before_id, job_id)
) STRICT, WITHOUT ROWID;
INSERT INTO "job_after" VALUES('7907856194cb36f3','307c9944699825be');
CREATE TABLE job_avoids (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    party  TEXT NOT NULL,                    -- a worker's id, or user:LOGIN for every worker of a user
    until  REAL NOT NULL,
    PRIMARY KEY (job_id, party)
) STRICT, WITHOUT ROWID;
CREATE TABLE job_blobs (
    sha256    TEXT NOT NULL,
    job_id    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    PRIMARY KEY (sha256, job_id, direction)
) STRICT, WITHOUT ROWID;
INSERT INTO "job_blobs" VALUES('d1beb4759ef9294ab3baf68ea10cab983283bfce072a82e20cb65db4dd973411','0df3c70d6d5b3d6b','out');
INSERT INTO "job_blobs" VALUES('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855','0df3c70d6d5b3d6b','out');
INSERT INTO "job_blobs" VALUES('522d45a4d29c8cc69b7525211ceccfaa45bd7c06385ac7c71e1231b5fe0d111f','7907856194cb36f3','in');
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
    created_at   REAL NOT NULL,
    started_at   REAL NOT NULL,
    ended_at     REAL NOT NULL,
    result       TEXT NOT NULL,             -- JobResult, '' while there is none
    reason       TEXT NOT NULL
, kind TEXT NOT NULL DEFAULT '', priority INTEGER NOT NULL DEFAULT 0, deadline_at REAL NOT NULL DEFAULT 0, overrun_at REAL NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, open_after INTEGER NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0, avoids INTEGER NOT NULL DEFAULT 0, label TEXT NOT NULL DEFAULT '', job_group TEXT NOT NULL DEFAULT '', session TEXT NOT NULL DEFAULT '', family TEXT NOT NULL DEFAULT '', replica INTEGER NOT NULL DEFAULT 0, digest TEXT NOT NULL DEFAULT '', agreed INTEGER, mode INTEGER NOT NULL DEFAULT 448, owner_group TEXT NOT NULL DEFAULT '') STRICT;
INSERT INTO "jobs" VALUES(1,'0df3c70d6d5b3d6b','ann','3120661393033ed6','{"app":"tool","args":["first"],"label":"done"}','{}','completed',3,1,0,'19df3946a1c15051','node1',1.79582741774989795681e+09,1.79582740274362349505e+09,1.79582740275045728683e+09,1.795827402756660223e+09,'{"exit_code":0,"stdout":{"path":"stdout","sha256":"d1beb4759ef9294ab3baf68ea10cab983283bfce072a82e20cb65db4dd973411","size":11},"stderr":{"path":"stderr","sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"wall_s":0.5}','','f90d0ca4a0d76088f87a',0,0.0,1.79584906275045728682e+09,0.0,0,0,0,'done','','','',0,'',NULL,448,'');
INSERT INTO "jobs" VALUES(2,'7907856194cb36f3','ann','3120661393033ed6','{"app":"tool","args":["second"],"data":["table"],"label":"running"}','{"data":[{"name":"table","sha256":"522d45a4d29c8cc69b7525211ceccfaa45bd7c06385ac7c71e1231b5fe0d111f","size":8}]}','running',2,1,0,'19df3946a1c15051','node1',1.79582741776119303705e+09,1.79582740275928854937e+09,1.79582740276137924192e+09,0.0,'','','f90d0ca4a0d76088f87a',0,0.0,1.795849062761379242e+09,0.0,0,0,0,'running','','','',0,'',NULL,448,'');
INSERT INTO "jobs" VALUES(3,'307c9944699825be','ann','3120661393033ed6','{"app":"tool","args":["third"],"label":"waiting","after":["7907856194cb36f3"]}','{}','waiting',1,0,0,'','',0.0,1.79582740276303720475e+09,0.0,0.0,'','','f90d0ca4a0d76088f87a',0,0.0,0.0,0.0,1,0,0,'waiting','','','',0,'',NULL,448,'');
INSERT INTO "jobs" VALUES(4,'732894e55642cb08','ann','3120661393033ed6','{"app":"tool","args":["fourth"],"label":"family","replicas":2}','{}','pending',1,0,0,'','',0.0,1.79582740276507735253e+09,0.0,0.0,'','','',0,0.0,0.0,0.0,0,0,0,'family','','','',0,'',NULL,448,'');
INSERT INTO "jobs" VALUES(5,'ffdcb4e07f61533a','ann','3120661393033ed6','{"app":"tool","args":["fourth"],"label":"family","deadline_at":0.0}','{}','pending',1,0,0,'','',0.0,1.79582740276507735253e+09,0.0,0.0,'','','d8b03c8e4af98d23937d',0,0.0,0.0,0.0,0,0,0,'family','','','732894e55642cb08',1,'',NULL,448,'');
INSERT INTO "jobs" VALUES(6,'03fa1088e08fcd3d','ann','3120661393033ed6','{"app":"tool","args":["fourth"],"label":"family","deadline_at":0.0}','{}','pending',1,0,0,'','',0.0,1.79582740276507735253e+09,0.0,0.0,'','','0afe0a5566d800dbd9a0',0,0.0,0.0,0.0,0,0,0,'family','','','732894e55642cb08',2,'',NULL,448,'');
INSERT INTO "jobs" VALUES(7,'63575e27344fe5a8','ann','3120661393033ed6','{"app":"tool","args":["fifth"],"label":"pending","priority":-1}','{}','pending',1,0,0,'','',0.0,1.79582740276739692688e+09,0.0,0.0,'','','f90d0ca4a0d76088f87a',-1,0.0,0.0,0.0,0,0,0,'pending','','','',0,'',NULL,448,'');
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
INSERT INTO "join_tokens" VALUES('deployment','86e06b506bbf762dc0160c1983d9eb4bbcbe81669d8478638a239063958d19fb','public','','',1.79582740154807686807e+09,0.0,1.79582740267911720273e+09);
CREATE TABLE kinds (
    id      TEXT PRIMARY KEY,                -- a hash of the rest
    app_id  TEXT NOT NULL REFERENCES apps (id),
    owner   TEXT NOT NULL,                   -- of the jobs: private workers run those of one owner
    replica INTEGER NOT NULL,                -- number of the replica, so that those of one job stand in different queues
    needs   TEXT NOT NULL                    -- Needs
) STRICT, WITHOUT ROWID;
INSERT INTO "kinds" VALUES('0afe0a5566d800dbd9a0','3120661393033ed6','ann',2,'{}');
INSERT INTO "kinds" VALUES('d8b03c8e4af98d23937d','3120661393033ed6','ann',1,'{}');
INSERT INTO "kinds" VALUES('f90d0ca4a0d76088f87a','3120661393033ed6','ann',0,'{}');
CREATE TABLE members (
    group_name TEXT NOT NULL REFERENCES groups (name),
    login      TEXT NOT NULL REFERENCES users (login),
    PRIMARY KEY (group_name, login)
) STRICT, WITHOUT ROWID;
INSERT INTO "members" VALUES('lab','ann');
CREATE TABLE migrations (number INTEGER PRIMARY KEY) STRICT;
INSERT INTO "migrations" VALUES(1);
INSERT INTO "migrations" VALUES(10);
INSERT INTO "migrations" VALUES(11);
INSERT INTO "migrations" VALUES(20);
CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,            -- the token itself is never stored
    login      TEXT NOT NULL REFERENCES users (login),
    expires_at REAL NOT NULL
, id TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL DEFAULT 0, last_used_at REAL NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
INSERT INTO "sessions" VALUES('4a968c6b958705111708b86d817d1a7e56fa53ea184ae291c98be0742adcd25a','ann',4000000000.0,'bc6715e6e9ec468d',1.7958274026655771733e+09,1.79582740270407724379e+09);
CREATE TABLE users (
    login         TEXT PRIMARY KEY,
    role          TEXT NOT NULL CHECK (role IN ('admin', 'user')),
    password_hash TEXT NOT NULL,            -- argon2id, with its parameters and salt
    created_at    REAL NOT NULL
, active INTEGER NOT NULL DEFAULT 1) STRICT, WITHOUT ROWID;
INSERT INTO "users" VALUES('admin','admin','$argon2id$v=19$m=19456,t=2,p=1$asRSUW+yLVGFPhJp9QPbAQ$Fr4l8KQJ621sLldXuY/+HA',1.79582740148013663295e+09,1);
INSERT INTO "users" VALUES('ann','user','$argon2id$v=19$m=19456,t=2,p=1$k8ah0EbDAPkJaO+4A9N+bA$lpVEJOo8XhEJDPSGFa64Bw',1.79582740249152207371e+09,1);
CREATE TABLE workers (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,             -- what the machine calls itself; need not be unique
    token_hash   TEXT NOT NULL UNIQUE,
    machine      TEXT NOT NULL,             -- Machine
    enrolled_at  REAL NOT NULL,
    last_seen_at REAL NOT NULL,
    left_at      REAL NOT NULL DEFAULT 0    -- when it stopped in good order; 0 while it has not
, failures_in_row INTEGER NOT NULL DEFAULT 0, quarantines INTEGER NOT NULL DEFAULT 0, quarantined_until REAL NOT NULL DEFAULT 0, outvoted INTEGER NOT NULL DEFAULT 0, draining INTEGER NOT NULL DEFAULT 0, visibility TEXT NOT NULL DEFAULT 'public', group_name TEXT NOT NULL DEFAULT '', owner TEXT NOT NULL DEFAULT '', rotate INTEGER NOT NULL DEFAULT 0, next_hash TEXT NOT NULL DEFAULT '', old_until REAL NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
INSERT INTO "workers" VALUES('19df3946a1c15051','node1','76443f0640e3882e1a0cdd4ca07b0e7de5a77ea43b2a644a4e3492ceac156ff3','{"os":"linux","arch":"x86_64","cpu_count":2,"cpu_model":"test","ram_bytes":1073741824,"disk_free_bytes":1073741824,"version":"11.0.0","shared":["python3"],"isolation":"process"}',1.79582740267911720273e+09,1.7958274027622282505e+09,0.0,0,0,0.0,0,0,'public','','',0,'',0.0);
CREATE INDEX app_blobs_by_app ON app_blobs (app_id);
CREATE INDEX data_by_sha256 ON data (sha256);
CREATE INDEX jobs_leased_until ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_leased_by ON jobs (worker_id) WHERE state = 'running';
CREATE INDEX jobs_by_owner ON jobs (owner, seq);
CREATE INDEX job_blobs_by_job ON job_blobs (job_id);
CREATE INDEX jobs_pending ON jobs (kind, priority DESC, seq) WHERE state = 'pending';
CREATE INDEX jobs_back_off ON jobs (not_before) WHERE state = 'waiting' AND not_before > 0;
CREATE INDEX jobs_deadline ON jobs (deadline_at) WHERE state IN ('waiting', 'pending') AND deadline_at > 0;
CREATE INDEX jobs_overrun ON jobs (overrun_at) WHERE state = 'running';
CREATE INDEX jobs_by_group ON jobs (job_group, seq) WHERE job_group <> '';
CREATE INDEX jobs_by_session ON jobs (session, seq) WHERE session <> '';
CREATE INDEX jobs_by_family ON jobs (family, replica) WHERE family <> '';
CREATE INDEX jobs_ended ON jobs (ended_at) WHERE ended_at > 0;
CREATE INDEX job_after_by_job ON job_after (job_id);
CREATE INDEX blob_holders_by_time ON blob_holders (held_at);
CREATE INDEX members_by_login ON members (login);
CREATE UNIQUE INDEX sessions_by_id ON sessions (id);
CREATE INDEX sessions_by_login ON sessions (login);
CREATE INDEX workers_by_next_hash ON workers (next_hash) WHERE next_hash <> '';
COMMIT;
PRAGMA user_version = 20;
