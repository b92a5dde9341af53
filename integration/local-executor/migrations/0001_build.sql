-- One row for each attempt that was ever asked for here, fenced or forgotten ones included, until it is too old to come
-- again. Nothing of the request but its digest: no script, no variable, no capability.
CREATE TABLE build (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    key         TEXT    NOT NULL UNIQUE,
    digest      TEXT,
    phase       TEXT    NOT NULL CHECK (phase IN ('waiting', 'running', 'ended', 'fenced', 'forgotten')),
    verdict     TEXT,
    class       TEXT,
    reason      TEXT    NOT NULL DEFAULT '',
    stamp       INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    started_at  INTEGER,
    ended_at    INTEGER,
    CHECK ((phase = 'ended') <= (verdict IS NOT NULL AND ended_at IS NOT NULL))
) STRICT;

CREATE INDEX build_by_phase ON build (phase, ended_at);
