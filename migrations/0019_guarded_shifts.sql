-- A change of an endpoint's traffic that is watched, and goes back by itself.

ALTER TABLE endpoint ADD COLUMN shift TEXT NOT NULL DEFAULT ''; -- JSON: the last one; else ''
