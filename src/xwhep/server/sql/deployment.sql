-- What was taken over from the deployment's package.

-- name: deployment_parts
-- Everything, with its digest.
SELECT part, digest FROM deployment ORDER BY part;

-- name: deployment_set
-- A part was taken over.
INSERT INTO deployment (part, digest) VALUES (:part, :digest) ON CONFLICT (part) DO UPDATE SET digest = excluded.digest;

-- name: deployment_forget
-- A part is no longer in the package.
DELETE FROM deployment WHERE part = :part;
