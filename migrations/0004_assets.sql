-- Versioned data and environments. A version never changes, but for its description, tags and whether it is archived.

CREATE TABLE asset (
  kind        TEXT NOT NULL,            -- data, environment
  name        TEXT NOT NULL,
  version     TEXT NOT NULL,
  number      BIGINT NOT NULL,          -- 1, 2, ... in the order in which the versions of a name were made
  type        TEXT NOT NULL,            -- uri_file, uri_folder, mltable; environments: image, build, conda, default
  path        TEXT NOT NULL,            -- data: where it is, as a reference; environments: ''
  digest      TEXT,                     -- NULL: not known (a URL that no job has fetched)
  size_bytes  BIGINT,
  files       BIGINT,
  definition  TEXT NOT NULL,            -- environments: canonical JSON; data: ''
  description TEXT NOT NULL,
  tags        TEXT NOT NULL,            -- JSON object of strings
  archived    BIGINT NOT NULL,
  created_by  TEXT NOT NULL,
  created_us  BIGINT NOT NULL,
  PRIMARY KEY (kind, name, version),
  UNIQUE (kind, name, number)
);
