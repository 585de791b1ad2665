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

-- What Lathe knows of a model version beyond the registry: its files, kept by digest. Made with the version, or for one
-- that a client of MLflow's made, when it is first asked for.
CREATE TABLE model_content (
  model      TEXT NOT NULL,
  version    BIGINT NOT NULL,
  type       TEXT NOT NULL,             -- custom_model, mlflow_model, triton_model
  path       TEXT NOT NULL,             -- as it was given when the version was made; '' for one made through MLflow
  tree       TEXT NOT NULL,             -- digest of its folder
  size_bytes BIGINT NOT NULL,
  flavors    TEXT NOT NULL,             -- JSON
  PRIMARY KEY (model, version),
  FOREIGN KEY (model, version) REFERENCES model_version (model, version) ON UPDATE CASCADE ON DELETE CASCADE
);
