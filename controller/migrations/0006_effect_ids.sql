-- An effect's id is never given to another one. Without AUTOINCREMENT, SQLite gives the greatest id away again once its row is
-- deleted: what came of an effect that had been withdrawn while it was performed was then taken for what came of the next one, which
-- had got the same id and the same epoch.
CREATE TABLE effect_of_now (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
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
INSERT INTO effect_of_now SELECT id, key, run, kind, lane, v, payload, due, give_up, tries, owner, epoch, until, error FROM effect;
DROP TABLE effect;
ALTER TABLE effect_of_now RENAME TO effect;
CREATE INDEX effect_due ON effect (lane, due);
