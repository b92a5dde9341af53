-- The catalog of the artifact store: which bytes there are, what they are called, and who needs them.
-- Times are microseconds since the epoch. Digests are the 32 bytes of a SHA-256.

-- The bytes that are kept. `corrupt` is when they were found not to have their digest any more.
CREATE TABLE blob (
    id        INTEGER PRIMARY KEY,
    digest    BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    size      INTEGER NOT NULL CHECK (size >= 0),
    stored_at INTEGER NOT NULL,
    corrupt   INTEGER
) STRICT;

-- Small blobs are kept here, so that those that arrive together become durable with one sync.
CREATE TABLE small (
    blob  INTEGER PRIMARY KEY REFERENCES blob (id) ON DELETE CASCADE,
    bytes BLOB    NOT NULL
) STRICT;

-- Large blobs are files; a tag for each chunk proves it while it is read.
CREATE TABLE chunked (
    blob INTEGER PRIMARY KEY REFERENCES blob (id) ON DELETE CASCADE,
    key  BLOB    NOT NULL CHECK (length(key) = 32),
    tags BLOB    NOT NULL
) STRICT;

-- What a name shows now. A name that was deleted keeps its row for a while: `line` says how new the deletion is, and
-- `next` goes on counting.
CREATE TABLE name (
    id      INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL UNIQUE,
    current INTEGER,
    line    INTEGER NOT NULL,
    next    INTEGER NOT NULL
) STRICT;

-- The history of the names.
CREATE TABLE version (
    name         INTEGER NOT NULL REFERENCES name (id) ON DELETE CASCADE,
    version      INTEGER NOT NULL,
    blob         INTEGER NOT NULL REFERENCES blob (id),
    content_type TEXT    NOT NULL,
    stored_at    INTEGER NOT NULL,
    run          TEXT,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_blob ON version (blob);

-- What attempts may put. `result` is what came of closing it, as JSON; while there is none, it is open.
CREATE TABLE upload_grant (
    key        TEXT    PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    closed_at  INTEGER,
    result     TEXT
) STRICT, WITHOUT ROWID;

-- What was put into grants that are open.
CREATE TABLE grant_blob (
    key          TEXT    NOT NULL REFERENCES upload_grant (key) ON DELETE CASCADE,
    name         TEXT    NOT NULL,
    blob         INTEGER NOT NULL REFERENCES blob (id),
    content_type TEXT    NOT NULL,
    PRIMARY KEY (key, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX grant_blob_blob ON grant_blob (blob);

-- Which runs still need which bytes.
CREATE TABLE pin (
    owner TEXT    NOT NULL,
    blob  INTEGER NOT NULL REFERENCES blob (id),
    PRIMARY KEY (owner, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX pin_blob ON pin (blob);
