-- Where jobs run, and the jobs.

CREATE TABLE compute_target (
  name          TEXT PRIMARY KEY,
  type          TEXT NOT NULL,          -- amlcompute; "local" is there without a row
  size          TEXT NOT NULL,
  min_instances BIGINT NOT NULL,
  max_instances BIGINT NOT NULL,
  idle_s        BIGINT NOT NULL,
  description   TEXT NOT NULL,
  tags          TEXT NOT NULL,          -- JSON object
  created_by    TEXT NOT NULL,
  created_us    BIGINT NOT NULL
);

-- A job is a run: its name is the run's id.
CREATE TABLE job (
  name            TEXT PRIMARY KEY,
  number          BIGINT NOT NULL UNIQUE,  -- the order of submission
  experiment_id   BIGINT NOT NULL,
  experiment_name TEXT NOT NULL,
  display_name    TEXT NOT NULL,
  description     TEXT NOT NULL,
  compute         TEXT NOT NULL,
  state           TEXT NOT NULL,           -- Azure's names, see jobs/states.h
  attempt         BIGINT NOT NULL,         -- the folder that its shim uses, jobs/NAME/attempt-N
  node            TEXT NOT NULL,           -- '' while it waits
  document        TEXT NOT NULL,           -- as it was sent, JSON
  plan            TEXT NOT NULL,           -- what was made of it: resolved inputs, digests; JSON
  report          TEXT NOT NULL,           -- fields that were not plainly honoured, JSON
  error           TEXT NOT NULL,           -- why it failed, with the evidence
  exit_code       BIGINT,
  archived        BIGINT NOT NULL,
  created_by      TEXT NOT NULL,
  created_us      BIGINT NOT NULL,
  prepared_us     BIGINT,
  started_us      BIGINT,
  user_code_us    BIGINT,
  ended_us        BIGINT,
  updated_us      BIGINT NOT NULL
);
CREATE INDEX job_by_state ON job (state);
CREATE INDEX job_by_number ON job (archived, number);
