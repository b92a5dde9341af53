-- The memory of the controller. Times are milliseconds since the epoch, identifiers text, documents JSON.

-- What a repository's name is bound to: the first source that was used under it.
CREATE TABLE repository (
    name   TEXT PRIMARY KEY,
    source TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- A run is one document (`body`), changed as a whole; the columns are what lists are filtered and ordered by.
CREATE TABLE run (
    id          TEXT PRIMARY KEY,
    repo        TEXT,
    environment TEXT,
    name        TEXT,
    ref         TEXT,
    number      INTEGER NOT NULL,
    state       TEXT NOT NULL,
    outcome     TEXT,
    accepted_at INTEGER NOT NULL,
    finished_at INTEGER,
    version     INTEGER NOT NULL,
    summary     TEXT NOT NULL,
    body        TEXT NOT NULL
) STRICT;
CREATE INDEX run_active ON run (id) WHERE state <> 'finished';
CREATE INDEX run_by_repo ON run (repo, id);
CREATE INDEX run_by_ref ON run (repo, ref, id);
-- Runs without a repository are seen by whoever may see what they change.
CREATE INDEX run_by_target ON run (environment, name) WHERE repo IS NULL;
CREATE INDEX run_finished ON run (finished_at) WHERE state = 'finished';

-- The audit: what happened to a run, numbered from 1. Nothing is ever rebuilt from it.
CREATE TABLE event (
    run       TEXT NOT NULL,
    n         INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    v         INTEGER NOT NULL,
    principal TEXT,
    body      TEXT NOT NULL,
    PRIMARY KEY (run, n)
) STRICT, WITHOUT ROWID;

-- What is to be done: outbox, work queue and timers at once. A row is leased by an owner for a time; whoever takes it over
-- raises its epoch, and what an older epoch says of it is not heard.
CREATE TABLE effect (
    id      INTEGER PRIMARY KEY,
    key     TEXT NOT NULL UNIQUE,
    run     TEXT NOT NULL,
    kind    TEXT NOT NULL,
    lane    TEXT NOT NULL,
    v       INTEGER NOT NULL,
    payload TEXT NOT NULL,
    due     INTEGER NOT NULL,
    give_up INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    owner   TEXT,
    epoch   INTEGER NOT NULL DEFAULT 0,
    until   INTEGER,
    error   TEXT
) STRICT;
CREATE INDEX effect_due ON effect (lane, due);

-- What runs share, and who waits for it or holds it.
CREATE TABLE resource (
    key     TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE claim (
    resource TEXT NOT NULL,
    holder   TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (resource, holder)
) STRICT, WITHOUT ROWID;

-- The attempts that are at an executor now: what the reconciler looks at. Follows from the runs.
CREATE TABLE live (
    key      TEXT PRIMARY KEY,
    run      TEXT NOT NULL,
    executor TEXT NOT NULL,
    anchor   TEXT,
    build    TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX live_run ON live (run);

CREATE TABLE sequence (
    scope TEXT PRIMARY KEY,
    last  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    principal   TEXT NOT NULL,
    key         TEXT NOT NULL,
    body_digest TEXT NOT NULL,
    run         TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

CREATE TABLE token (
    jti        TEXT PRIMARY KEY,
    principal  TEXT NOT NULL,
    audience   TEXT NOT NULL,
    grants     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
