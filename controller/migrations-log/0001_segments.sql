-- Logs, in a file of their own, so that a run never waits for a log to be written. What stands here is masked already.
CREATE TABLE segment (
    key   TEXT NOT NULL,
    part  TEXT NOT NULL,
    start INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (key, part, start)
) STRICT, WITHOUT ROWID;

-- How far each log was read: `length` bytes are kept; reading goes on at the executor's `cursor`, `skip` bytes behind it.
CREATE TABLE log (
    key      TEXT NOT NULL,
    part     TEXT NOT NULL,
    length   INTEGER NOT NULL,
    cursor   TEXT NOT NULL,
    skip     INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    PRIMARY KEY (key, part)
) STRICT, WITHOUT ROWID;
