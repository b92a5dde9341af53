-- What a worker was asked to do, by operation and attempt. Of the request's body only the digest is kept: it may have
-- held a secret. Times are milliseconds since the epoch.
CREATE TABLE ledger (
    op      TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    body    TEXT    NOT NULL,
    state   TEXT    NOT NULL CHECK (state IN ('working', 'done', 'failed')),
    result  TEXT    CHECK ((state = 'working') = (result IS NULL)),
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (op, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX ledger_expires ON ledger (expires);

CREATE INDEX ledger_working ON ledger (created) WHERE state = 'working';
