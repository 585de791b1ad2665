-- Traces: what an application did for one request, as spans, and what people and judges say of it. All goes with the trace,
-- and the trace with its experiment.

CREATE TABLE trace (
  number            INTEGER PRIMARY KEY,
  id                TEXT NOT NULL UNIQUE,
  experiment_id     BIGINT NOT NULL REFERENCES experiment (id) ON DELETE CASCADE,
  request_ms        BIGINT NOT NULL,
  duration_ms       BIGINT,
  state             TEXT NOT NULL,          -- OK, ERROR, IN_PROGRESS, STATE_UNSPECIFIED
  client_request_id TEXT,
  request_preview   TEXT,
  response_preview  TEXT,
  created_by        TEXT NOT NULL
);
CREATE INDEX trace_by_time ON trace (experiment_id, request_ms DESC, id);

CREATE TABLE trace_tag (
  trace BIGINT NOT NULL REFERENCES trace (number) ON DELETE CASCADE,
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (trace, key)
);

CREATE TABLE trace_metadata (
  trace BIGINT NOT NULL REFERENCES trace (number) ON DELETE CASCADE,
  key   TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (trace, key)
);

-- Runs that a trace was linked to afterwards; the run that it was made in is in its metadata.
CREATE TABLE trace_run (
  trace BIGINT NOT NULL REFERENCES trace (number) ON DELETE CASCADE,
  run   BIGINT NOT NULL REFERENCES run (number) ON DELETE CASCADE,
  PRIMARY KEY (trace, run)
);
CREATE INDEX trace_run_by_run ON trace_run (run);

CREATE TABLE trace_span (
  trace     BIGINT NOT NULL REFERENCES trace (number) ON DELETE CASCADE,
  id        TEXT NOT NULL,                  -- 16 hex digits
  parent_id TEXT NOT NULL,                  -- empty: the root
  name      TEXT NOT NULL,
  type      TEXT NOT NULL,
  status    TEXT NOT NULL,                  -- OK, ERROR, UNSET
  start_ns  BIGINT NOT NULL,
  end_ns    BIGINT NOT NULL,                -- 0: has not ended
  usage     TEXT NOT NULL,                  -- tokens, JSON; empty: none
  content   TEXT NOT NULL,                  -- the whole span, JSON as in MLflow's traces.json
  PRIMARY KEY (trace, id)
);

CREATE TABLE trace_assessment (
  id           TEXT PRIMARY KEY,
  trace        BIGINT NOT NULL REFERENCES trace (number) ON DELETE CASCADE,
  name         TEXT NOT NULL,
  kind         TEXT NOT NULL,               -- feedback, expectation
  value        TEXT NOT NULL,               -- JSON of that field as MLflow's API has it
  value_text   TEXT NOT NULL,               -- to search by: a text as it is, anything else as JSON
  value_number DOUBLE PRECISION,            -- likewise, of a number
  source_type  TEXT NOT NULL,
  source_id    TEXT NOT NULL,
  span_id      TEXT NOT NULL,
  rationale    TEXT NOT NULL,
  metadata     TEXT NOT NULL,               -- JSON object
  overrides    TEXT NOT NULL,               -- id of the assessment that this one stands in for; empty: none
  valid        BIGINT NOT NULL,             -- 0: another stands in for it
  created_ms   BIGINT NOT NULL,
  updated_ms   BIGINT NOT NULL,
  created_by   TEXT NOT NULL
);
CREATE INDEX trace_assessment_by_trace ON trace_assessment (trace, name);
