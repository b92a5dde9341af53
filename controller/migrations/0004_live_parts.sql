-- The parts of what runs whose logs are read, as a JSON list of their ids.
ALTER TABLE live ADD COLUMN parts TEXT NOT NULL DEFAULT '[]';
