-- Rows that could not be read, because they are damaged or from another version. They are set aside, so that the others go
-- on, and tried again at each start. `kind` is the table, `id` the row's key there.
CREATE TABLE aside (
    kind  TEXT NOT NULL,
    id    TEXT NOT NULL,
    run   TEXT,
    at    INTEGER NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
