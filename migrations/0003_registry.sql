-- Registered models and their versions.

CREATE TABLE registered_model (
  name         TEXT PRIMARY KEY,
  description  TEXT NOT NULL,
  last_version BIGINT NOT NULL,             -- the highest that there ever was: numbers are not given twice
  created_by   TEXT NOT NULL,
  created_us   BIGINT NOT NULL,
  updated_us   BIGINT NOT NULL
);

CREATE TABLE registered_model_tag (
  model TEXT NOT NULL REFERENCES registered_model (name) ON UPDATE CASCADE ON DELETE CASCADE,
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, key)
);

CREATE TABLE model_version (
  model        TEXT NOT NULL REFERENCES registered_model (name) ON UPDATE CASCADE ON DELETE CASCADE,
  version      BIGINT NOT NULL,
  source       TEXT NOT NULL,
  artifact_uri TEXT NOT NULL,               -- the source, resolved when the version was made
  run_id       TEXT NOT NULL,               -- empty: not made by a run
  run_link     TEXT NOT NULL,
  model_id     TEXT NOT NULL,               -- of the logged model, or empty
  status       TEXT NOT NULL,               -- READY
  stage        TEXT NOT NULL,               -- None, Staging, Production, Archived
  description  TEXT NOT NULL,
  archived     BIGINT NOT NULL,             -- 1: hidden from lists and from the label latest
  created_by   TEXT NOT NULL,
  created_us   BIGINT NOT NULL,
  updated_us   BIGINT NOT NULL,
  PRIMARY KEY (model, version)
);
CREATE INDEX model_version_by_run ON model_version (run_id);

CREATE TABLE model_version_tag (
  model   TEXT NOT NULL,
  version BIGINT NOT NULL,
  key     TEXT NOT NULL,
  value   TEXT NOT NULL,
  PRIMARY KEY (model, version, key),
  FOREIGN KEY (model, version) REFERENCES model_version (model, version) ON UPDATE CASCADE ON DELETE CASCADE
);

CREATE TABLE model_alias (
  model   TEXT NOT NULL,
  alias   TEXT NOT NULL,
  version BIGINT NOT NULL,
  PRIMARY KEY (model, alias),
  FOREIGN KEY (model, version) REFERENCES model_version (model, version) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX model_alias_by_version ON model_alias (model, version);
