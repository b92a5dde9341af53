-- A name is bound by what was fetched under it. Before, it was bound by the configuration alone, a slip in it included:
-- names under which no run that is kept has fetched anything are free again. Where an older run had, the VCS worker knows.
DELETE FROM repository
WHERE NOT EXISTS (
    SELECT 1 FROM run
    WHERE run.repo = repository.name AND CASE WHEN json_valid(run.body) THEN run.body ->> '$.sha' END IS NOT NULL
);
