-- Deletion for good. What is on its way out stands here until all of it is gone, so that a crash is taken up. Rows of run,
-- experiment and logged_model that go have the stage "removing", and are shown to nobody.
CREATE TABLE removal (
  kind     TEXT NOT NULL,               -- run, experiment, logged_model, artifacts
  id       TEXT NOT NULL,               -- the run's or model's id, the experiment's number, a path below the artifacts
  name     TEXT NOT NULL,               -- for people
  asked_by TEXT NOT NULL,
  asked_us BIGINT NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE INDEX run_by_deletion ON run (deleted_us) WHERE deleted_us IS NOT NULL;
CREATE INDEX run_dataset_by_dataset ON run_dataset (dataset);
CREATE INDEX run_model_by_model ON run_model (model);

-- An experiment's number is not given twice: clients keep numbers.
CREATE TABLE last_experiment (id BIGINT NOT NULL);
INSERT INTO last_experiment (id) SELECT COALESCE(MAX(id), 0) FROM experiment;

-- What was taken over from other servers, and what it became here.
CREATE TABLE imported (
  source   TEXT NOT NULL,               -- the other server's URL
  kind     TEXT NOT NULL,               -- experiment, run, logged_model, registered_model, model_version
  id       TEXT NOT NULL,               -- there
  target   TEXT NOT NULL,               -- here
  complete BIGINT NOT NULL,             -- 0: taken over in part; the next import goes on with it
  PRIMARY KEY (source, kind, id)
);
