-- When a content was last uploaded or asked to be named, so that what nothing names can be deleted after a while.
ALTER TABLE blob_holders ADD COLUMN held_at REAL NOT NULL DEFAULT 0;
UPDATE blob_holders SET held_at = unixepoch();
CREATE INDEX blob_holders_by_time ON blob_holders (held_at);
