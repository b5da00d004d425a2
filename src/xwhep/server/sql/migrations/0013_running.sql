-- One index of the running jobs for both times that end them: each lease and each result writes one entry less. Those
-- that ran too long are found by a walk through it, once a second.
DROP INDEX jobs_overrun;
DROP INDEX jobs_leased_until;
CREATE INDEX jobs_leased_until ON jobs (lease_until, overrun_at) WHERE state = 'running';
