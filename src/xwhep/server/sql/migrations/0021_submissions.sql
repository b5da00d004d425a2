-- A submission that is sent again because its answer was lost makes no second job. As long as the job, so is its key.
ALTER TABLE jobs ADD COLUMN submit_key TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_by_key ON jobs (owner, submit_key, seq) WHERE submit_key <> '';
