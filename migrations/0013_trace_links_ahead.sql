-- Links of traces that have not come yet to runs: trace_run holds them once their trace is here.
CREATE TABLE trace_run_ahead (
  trace_id TEXT NOT NULL,
  run      BIGINT NOT NULL REFERENCES run (number) ON DELETE CASCADE,
  PRIMARY KEY (trace_id, run)
);
CREATE INDEX trace_run_ahead_by_run ON trace_run_ahead (run);
