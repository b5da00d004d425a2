-- Apps and data can be removed; data that were uploaded for jobs only go with the last of them.

-- 0: in use. A removed app stays, without name and programs, since the rights to jobs that ran it depend on its mode.
ALTER TABLE apps ADD COLUMN removed_at REAL NOT NULL DEFAULT 0;
ALTER TABLE data ADD COLUMN for_jobs INTEGER NOT NULL DEFAULT 0; -- 1: of no use without a job that names its content
ALTER TABLE data ADD COLUMN used_at REAL NOT NULL DEFAULT 0;     -- when it was last registered
CREATE INDEX data_for_jobs ON data (used_at) WHERE for_jobs = 1;
UPDATE data SET used_at = created_at, for_jobs = (name = 'content-' || substr(sha256, 1, 32));
