-- Experiments and runs, and what runs log. Keys are (run number, name): runs have a number of the store's own, so that
-- the rows of points stay small. Times that clients send are kept in their own unit, milliseconds.

CREATE TABLE experiment (
  id                BIGINT PRIMARY KEY,
  name              TEXT NOT NULL UNIQUE,   -- unique among deleted ones too
  artifact_location TEXT NOT NULL,
  stage             TEXT NOT NULL,          -- active, deleted
  created_by        TEXT NOT NULL,
  created_us        BIGINT NOT NULL,
  updated_us        BIGINT NOT NULL
);
INSERT INTO experiment (id, name, artifact_location, stage, created_by, created_us, updated_us)
VALUES (0, 'Default', 'mlflow-artifacts:/0', 'active', 'lathe', 0, 0);

CREATE TABLE experiment_tag (
  experiment_id BIGINT NOT NULL REFERENCES experiment (id),
  key           TEXT NOT NULL,
  value         TEXT NOT NULL,
  PRIMARY KEY (experiment_id, key)
);

CREATE TABLE run (
  number        INTEGER PRIMARY KEY,
  id            TEXT NOT NULL UNIQUE,
  experiment_id BIGINT NOT NULL REFERENCES experiment (id),
  name          TEXT NOT NULL,
  user_name     TEXT NOT NULL,              -- as the client calls itself
  status        TEXT NOT NULL,              -- RUNNING, SCHEDULED, FINISHED, FAILED, KILLED
  start_ms      BIGINT NOT NULL,
  end_ms        BIGINT,
  stage         TEXT NOT NULL,              -- active, deleted
  deleted_us    BIGINT,
  artifact_uri  TEXT NOT NULL,
  job           BIGINT NOT NULL,            -- 1: the run is a job, whose process alone decides its status
  owner         TEXT,                       -- the job whose token made this run, and may write it
  created_by    TEXT NOT NULL
);
CREATE INDEX run_by_start ON run (experiment_id, stage, start_ms DESC, id);
CREATE INDEX run_by_owner ON run (owner);

-- A metric of a run, with its latest point: the greatest by (step, timestamp, value).
CREATE TABLE metric (
  id            INTEGER PRIMARY KEY,
  run           BIGINT NOT NULL REFERENCES run (number),
  experiment_id BIGINT NOT NULL,
  key           TEXT NOT NULL,
  step          BIGINT NOT NULL,
  timestamp_ms  BIGINT NOT NULL,
  value         DOUBLE PRECISION NOT NULL,  -- 0 where is_nan
  is_nan        BIGINT NOT NULL,
  UNIQUE (run, key)
);
CREATE INDEX metric_by_value ON metric (experiment_id, key, is_nan, value);

CREATE TABLE metric_point (
  metric       BIGINT NOT NULL REFERENCES metric (id),
  timestamp_ms BIGINT NOT NULL,
  step         BIGINT NOT NULL,
  value        DOUBLE PRECISION NOT NULL,
  is_nan       BIGINT NOT NULL,
  PRIMARY KEY (metric, timestamp_ms, step, value, is_nan)
);

CREATE TABLE run_param (
  run   BIGINT NOT NULL REFERENCES run (number),
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, key)
);

CREATE TABLE run_tag (
  run   BIGINT NOT NULL REFERENCES run (number),
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (run, key)
);

-- Data sets that runs used.
CREATE TABLE dataset (
  id            INTEGER PRIMARY KEY,
  experiment_id BIGINT NOT NULL REFERENCES experiment (id),
  name          TEXT NOT NULL,
  digest        TEXT NOT NULL,
  source_type   TEXT NOT NULL,
  source        TEXT NOT NULL,
  schema_text   TEXT,
  profile       TEXT,
  UNIQUE (experiment_id, name, digest)
);

CREATE TABLE run_dataset (
  run     BIGINT NOT NULL REFERENCES run (number),
  dataset BIGINT NOT NULL REFERENCES dataset (id),
  PRIMARY KEY (run, dataset)
);

CREATE TABLE run_dataset_tag (
  run     BIGINT NOT NULL,
  dataset BIGINT NOT NULL,
  key     TEXT NOT NULL,
  value   TEXT NOT NULL,
  PRIMARY KEY (run, dataset, key)
);

-- Models that runs logged, before anybody registers them.
CREATE TABLE logged_model (
  id             TEXT PRIMARY KEY,          -- m-<32 hex digits>
  experiment_id  BIGINT NOT NULL REFERENCES experiment (id),
  name           TEXT NOT NULL,
  artifact_uri   TEXT NOT NULL,
  status         TEXT NOT NULL,             -- LOGGED_MODEL_PENDING, _READY, _UPLOAD_FAILED
  status_message TEXT,
  model_type     TEXT NOT NULL,
  source_run_id  TEXT NOT NULL,             -- empty: none
  created_by     TEXT NOT NULL,
  created_ms     BIGINT NOT NULL,
  updated_ms     BIGINT NOT NULL,
  stage          TEXT NOT NULL              -- active, deleted
);
CREATE INDEX logged_model_by_experiment ON logged_model (experiment_id, created_ms DESC, id);
CREATE INDEX logged_model_by_run ON logged_model (source_run_id);

CREATE TABLE logged_model_param (
  model TEXT NOT NULL REFERENCES logged_model (id),
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, key)
);

CREATE TABLE logged_model_tag (
  model TEXT NOT NULL REFERENCES logged_model (id),
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (model, key)
);

-- The latest point of each metric that a run logged for a model, per data set ("" where none was named).
CREATE TABLE logged_model_metric (
  model          TEXT NOT NULL REFERENCES logged_model (id),
  key            TEXT NOT NULL,
  dataset_name   TEXT NOT NULL,
  dataset_digest TEXT NOT NULL,
  run_id         TEXT NOT NULL,
  step           BIGINT NOT NULL,
  timestamp_ms   BIGINT NOT NULL,
  value          DOUBLE PRECISION NOT NULL,
  is_nan         BIGINT NOT NULL,
  PRIMARY KEY (model, key, dataset_name, dataset_digest, run_id)
);

-- Which models a run read and made.
CREATE TABLE run_model (
  run   BIGINT NOT NULL REFERENCES run (number),
  model TEXT NOT NULL REFERENCES logged_model (id),
  role  TEXT NOT NULL,                      -- input, output
  step  BIGINT NOT NULL,
  PRIMARY KEY (run, model, role)
);
