-- What the deployment's package brought, so that it is taken over again only when it has changed.
CREATE TABLE deployment (
    part   TEXT PRIMARY KEY,                 -- 'login NAME' or 'join ID'
    digest TEXT NOT NULL                     -- sha256 of what was taken over
) STRICT, WITHOUT ROWID;
