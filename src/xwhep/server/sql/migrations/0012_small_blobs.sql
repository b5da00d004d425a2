-- Small contents, in the same transaction as what names them; larger ones are files in STATE/blobs.
CREATE TABLE small_blobs (
    sha256  TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;
