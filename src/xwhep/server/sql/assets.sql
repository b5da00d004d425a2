-- Apps, data, and who may read which blob.

-- name: app_add
-- A new app.
INSERT INTO apps (id, name, owner, shared, binaries, created_at)
VALUES (:id, :name, :owner, :shared, :binaries, :now);

-- name: app_change
-- Other binaries, or another shared asset, for an app that exists.
UPDATE apps SET shared = :shared, binaries = :binaries WHERE id = :id;

-- name: app_by_name
-- One app.
SELECT id, name, owner, shared, binaries, created_at, mode, group_name FROM apps
WHERE name = :name AND removed_at = 0;

-- name: app_of_job
-- The app that a job runs or ran, also when it is removed.
SELECT a.id, a.name, a.owner, a.shared, a.binaries, a.created_at, a.mode, a.group_name
FROM jobs j JOIN apps a ON a.id = j.app_id WHERE j.id = :job_id;

-- name: app_is_there
-- Whether jobs of an app may still be made.
SELECT 1 AS there FROM apps WHERE id = :id AND removed_at = 0;

-- name: app_open_jobs
-- How many jobs of an app have not ended.
SELECT count(*) AS count FROM jobs
WHERE app_id = :id AND family = '' AND state IN ('waiting', 'pending', 'running', 'lost');

-- name: app_remove
-- The name is to be had again: no app can be called what this one is called from now on.
UPDATE apps SET name = name || ' ' || id, shared = '', binaries = '[]', removed_at = :now WHERE id = :id;

-- name: app_list
-- Every app, by name.
SELECT id, name, owner, shared, binaries, created_at, mode, group_name FROM apps WHERE removed_at = 0 ORDER BY name;

-- name: app_blobs
-- What an app names.
SELECT sha256 FROM app_blobs WHERE app_id = :app_id;

-- name: app_blob_forget
-- Drop what an app named, before its new binaries are noted.
DELETE FROM app_blobs WHERE app_id = :app_id;

-- name: app_blob_note
-- An app names a blob.
INSERT OR IGNORE INTO app_blobs (sha256, app_id) VALUES (:sha256, :app_id);

-- name: datum_add
-- A new name for a blob.
INSERT INTO data (id, owner, name, sha256, size, created_at, for_jobs, used_at)
VALUES (:id, :owner, :name, :sha256, :size, :now, :for_jobs, :now);

-- name: datum_again
-- A name is registered once more; for itself, it is no longer for jobs only.
UPDATE data SET for_jobs = min(for_jobs, :for_jobs), used_at = :now WHERE id = :id;

-- name: datum_open_jobs
-- The jobs that have not ended and have a content for input, as they were submitted.
SELECT DISTINCT j.id, j.owner, j.spec FROM job_blobs b JOIN jobs j ON j.id = b.job_id
WHERE b.sha256 = :sha256 AND b.direction = 'in' AND j.family = ''
  AND j.state IN ('waiting', 'pending', 'running', 'lost');

-- name: datum_remove
-- A name is forgotten.
DELETE FROM data WHERE id = :id;

-- name: datum_idle
-- Data for jobs only that no job names, and that nobody registered since a time.
SELECT d.id FROM data d WHERE d.for_jobs = 1 AND d.used_at < :before
  AND NOT EXISTS (SELECT 1 FROM job_blobs j WHERE j.sha256 = d.sha256 AND j.direction = 'in') LIMIT :limit;

-- name: datum_remove_idle
-- Forget such a datum, if it still is one.
DELETE FROM data WHERE id = :id AND for_jobs = 1 AND used_at < :before
  AND NOT EXISTS (SELECT 1 FROM job_blobs j WHERE j.sha256 = data.sha256 AND j.direction = 'in');

-- name: datum_by_name
-- An owner's datum of that name.
SELECT id, owner, name, sha256, size, created_at, mode, group_name AS "group", for_jobs FROM data
WHERE owner = :owner AND name = :name;

-- name: datum_by_id
-- The datum with that id, whoever owns it.
SELECT id, owner, name, sha256, size, created_at, mode, group_name AS "group", for_jobs FROM data WHERE id = :id;

-- name: datum_list
-- The data that a login with its groups (a JSON list) may read, or all when it is ''; by name.
-- Those for jobs only when they are asked for.
SELECT id, owner, name, sha256, size, created_at, mode, group_name AS "group", for_jobs FROM data
WHERE for_jobs <= :for_jobs AND (:owner = '' OR CASE WHEN owner = :owner THEN mode & 256
                         WHEN group_name IN (SELECT value FROM json_each(:groups)) THEN mode & 32 ELSE mode & 4 END)
ORDER BY name, id;

-- name: blob_hold
-- Someone uploaded a blob's content.
INSERT INTO blob_holders (sha256, holder, held_at) VALUES (:sha256, :holder, :now)
ON CONFLICT (sha256, holder) DO UPDATE SET held_at = excluded.held_at;

-- name: blob_touch
-- What named a content does so no longer: it is kept for a while, as after an upload.
UPDATE blob_holders SET held_at = :now WHERE sha256 = :sha256;

-- name: blob_unused
-- Contents that nothing names, and that nobody uploaded since a time.
SELECT DISTINCT h.sha256 FROM blob_holders h
WHERE h.held_at < :before
  AND NOT EXISTS (SELECT 1 FROM blob_holders n WHERE n.sha256 = h.sha256 AND n.held_at >= :before)
  AND NOT EXISTS (SELECT 1 FROM data d WHERE d.sha256 = h.sha256)
  AND NOT EXISTS (SELECT 1 FROM app_blobs a WHERE a.sha256 = h.sha256)
  AND NOT EXISTS (SELECT 1 FROM job_blobs j WHERE j.sha256 = h.sha256)
LIMIT :limit;

-- name: blob_small_unused
-- Contents in the database that nothing names, and that nobody has.
SELECT s.sha256 FROM small_blobs s
WHERE NOT EXISTS (SELECT 1 FROM blob_holders h WHERE h.sha256 = s.sha256)
  AND NOT EXISTS (SELECT 1 FROM data d WHERE d.sha256 = s.sha256)
  AND NOT EXISTS (SELECT 1 FROM app_blobs a WHERE a.sha256 = s.sha256)
  AND NOT EXISTS (SELECT 1 FROM job_blobs j WHERE j.sha256 = s.sha256)
LIMIT :limit;

-- name: blob_still_unused
-- Whether nothing names one content, and nobody uploaded it since a time.
SELECT 1 AS unused
WHERE NOT EXISTS (SELECT 1 FROM blob_holders n WHERE n.sha256 = :sha256 AND n.held_at >= :before)
  AND NOT EXISTS (SELECT 1 FROM data d WHERE d.sha256 = :sha256)
  AND NOT EXISTS (SELECT 1 FROM app_blobs a WHERE a.sha256 = :sha256)
  AND NOT EXISTS (SELECT 1 FROM job_blobs j WHERE j.sha256 = :sha256);

-- name: blob_small_put
-- A content that is kept in the database.
INSERT OR IGNORE INTO small_blobs (sha256, content) VALUES (:sha256, :content);

-- name: blob_small_get
-- That content.
SELECT content FROM small_blobs WHERE sha256 = :sha256;

-- name: blob_small_size
-- How many bytes it has.
SELECT length(content) AS size FROM small_blobs WHERE sha256 = :sha256;

-- name: blob_small_drop
-- It is needed no more.
DELETE FROM small_blobs WHERE sha256 = :sha256;

-- name: blob_drop
-- Nobody has a content any more.
DELETE FROM blob_holders WHERE sha256 = :sha256;

-- name: blob_held
-- Whether someone uploaded a blob's content.
SELECT 1 AS held FROM blob_holders WHERE sha256 = :sha256 AND holder = :holder;

-- name: blob_of_user
-- Whether a datum, app or job that a user may read names a blob; rights.py says the same of the things themselves.
WITH mine AS (SELECT value AS name FROM json_each(:groups))
SELECT EXISTS (SELECT 1 FROM data d WHERE d.sha256 = :sha256
                  AND CASE WHEN d.owner = :login THEN d.mode & 256
                           WHEN d.group_name IN mine THEN d.mode & 32 ELSE d.mode & 4 END)
    OR EXISTS (SELECT 1 FROM app_blobs b JOIN apps a ON a.id = b.app_id WHERE b.sha256 = :sha256
                  AND CASE WHEN a.owner = :login THEN a.mode & 256
                           WHEN a.group_name IN mine THEN a.mode & 32 ELSE a.mode & 4 END)
    OR EXISTS (SELECT 1 FROM job_blobs b JOIN jobs j ON j.id = b.job_id JOIN apps a ON a.id = j.app_id
               WHERE b.sha256 = :sha256
                 AND CASE WHEN j.owner = :login THEN j.mode & 256
                          WHEN j.owner_group IN mine THEN j.mode & a.mode & 32 ELSE j.mode & a.mode & 4 END
                 AND (j.owner = :login
                      OR CASE WHEN a.owner = :login THEN a.mode & 256
                              WHEN a.group_name IN mine THEN a.mode & 32 ELSE a.mode & 4 END))
    AS allowed;

-- name: blob_of_worker
-- Whether a job that is leased to a worker needs a blob: its input, or its app's binary.
SELECT EXISTS (SELECT 1 FROM jobs j JOIN job_blobs b ON b.job_id = j.id
               WHERE j.worker_id = :worker_id AND j.state = 'running' AND b.sha256 = :sha256 AND b.direction = 'in')
    OR EXISTS (SELECT 1 FROM jobs j JOIN app_blobs b ON b.app_id = j.app_id
               WHERE j.worker_id = :worker_id AND j.state = 'running' AND b.sha256 = :sha256)
    AS allowed;
