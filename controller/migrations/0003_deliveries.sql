-- What forges said, written down before they are answered, and what was done about it.
CREATE TABLE delivery (
    id          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL,
    via         TEXT NOT NULL,
    -- What tells it from others of its source: two with the same are one.
    key         TEXT NOT NULL,
    kind        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    -- How often it came.
    copies      INTEGER NOT NULL DEFAULT 1,
    size        INTEGER NOT NULL,
    raw_digest  TEXT NOT NULL,
    headers     TEXT NOT NULL,
    -- Without secrets; none where it was too large to be kept.
    body        TEXT,
    state       TEXT NOT NULL,
    due         INTEGER NOT NULL,
    tries       INTEGER NOT NULL DEFAULT 0,
    acted_at    INTEGER,
    repo        TEXT,
    words       TEXT NOT NULL DEFAULT '',
    deeds       TEXT NOT NULL DEFAULT '[]',
    UNIQUE (source, key)
) STRICT;
CREATE INDEX delivery_waiting ON delivery (due, id) WHERE state = 'received';
CREATE INDEX delivery_by_repo ON delivery (repo, id);
CREATE INDEX delivery_by_age ON delivery (received_at);

-- Which run was started for what: a commit of a change or of a branch, once for each purpose and mark.
CREATE TABLE trigger (
    subject TEXT NOT NULL,
    sha     TEXT NOT NULL,
    purpose TEXT NOT NULL,
    mark    TEXT NOT NULL,
    run     TEXT NOT NULL,
    PRIMARY KEY (subject, sha, purpose, mark)
) STRICT, WITHOUT ROWID;
CREATE INDEX trigger_run ON trigger (run);

-- What is known of each change and branch: what was newest when something was last heard of it.
CREATE TABLE head (
    forge     TEXT NOT NULL,
    project   TEXT NOT NULL,
    subject   TEXT NOT NULL,
    sha       TEXT NOT NULL,
    patch_set INTEGER,
    closed    INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (forge, project, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX head_by_age ON head (at);

-- Which projects have been compared with what is known of them: the first comparison only takes note.
CREATE TABLE compared (
    forge   TEXT NOT NULL,
    project TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (forge, project)
) STRICT, WITHOUT ROWID;
