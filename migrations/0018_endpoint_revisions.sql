-- What an endpoint served after each change that took effect: what a rollback brings back.

CREATE TABLE endpoint_revision (
  endpoint   TEXT NOT NULL REFERENCES endpoint (name) ON DELETE CASCADE,
  number     BIGINT NOT NULL,           -- from 1
  what       TEXT NOT NULL,             -- the change, in words
  created_by TEXT NOT NULL,
  created_us BIGINT NOT NULL,
  served     TEXT NOT NULL,             -- JSON: traffic, mirror_traffic, and the spec of each deployment
  PRIMARY KEY (endpoint, number)
);

ALTER TABLE endpoint ADD COLUMN rollback TEXT NOT NULL DEFAULT '';     -- JSON: one that waits for its deployments; else ''
ALTER TABLE deployment ADD COLUMN changed_by TEXT NOT NULL DEFAULT ''; -- who asked for its spec
