-- A key that comes again with other jobs is a mistake, not a repetition: what the first submission said is known by a hash.
ALTER TABLE jobs ADD COLUMN submit_digest TEXT NOT NULL DEFAULT ''; -- of the whole submission, at its first job; '' elsewhere
