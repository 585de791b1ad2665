-- Points, parameters and tags are kept once, in the order of their keys; and runs are found by a parameter or tag,
-- newest first. So reading a history, or a page of the runs that have a parameter, costs what it gives, not what the
-- store holds.

CREATE TABLE metric_in_order (
  run           BIGINT NOT NULL REFERENCES run (number),
  key           TEXT NOT NULL,
  id            BIGINT NOT NULL,            -- what points call it
  experiment_id BIGINT NOT NULL,
  step          BIGINT NOT NULL,
  timestamp_ms  BIGINT NOT NULL,
  value         DOUBLE PRECISION NOT NULL,  -- 0 where is_nan
  is_nan        BIGINT NOT NULL,
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO metric_in_order (run, key, id, experiment_id, step, timestamp_ms, value, is_nan)
SELECT run, key, id, experiment_id, step, timestamp_ms, value, is_nan FROM metric ORDER BY run, key;

-- No reference to metric: it would be looked up again for each point, just after the statement that gave its id.
CREATE TABLE point_in_order (
  metric       BIGINT NOT NULL,
  timestamp_ms BIGINT NOT NULL,
  step         BIGINT NOT NULL,
  value        DOUBLE PRECISION NOT NULL,   -- 0 where is_nan
  is_nan       BIGINT NOT NULL,
  PRIMARY KEY (metric, timestamp_ms, step, value, is_nan)
) WITHOUT ROWID;
INSERT INTO point_in_order (metric, timestamp_ms, step, value, is_nan)
SELECT metric, timestamp_ms, step, value, is_nan FROM metric_point ORDER BY metric, timestamp_ms, step, value, is_nan;
DROP TABLE metric_point;
ALTER TABLE point_in_order RENAME TO metric_point;

DROP TABLE metric;
ALTER TABLE metric_in_order RENAME TO metric;
CREATE UNIQUE INDEX metric_by_id ON metric (id);
CREATE INDEX metric_by_value ON metric (experiment_id, key, is_nan, value, run);

CREATE TABLE param_in_order (
  run           BIGINT NOT NULL REFERENCES run (number),
  key           TEXT NOT NULL,
  value         TEXT NOT NULL,
  experiment_id BIGINT NOT NULL,            -- of the run
  start_ms      BIGINT NOT NULL,            -- of the run
  beginning     TEXT NOT NULL,              -- the first 200 characters of the value
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO param_in_order (run, key, value, experiment_id, start_ms, beginning)
SELECT p.run, p.key, p.value, r.experiment_id, r.start_ms, substr(p.value, 1, 200)
  FROM run_param p JOIN run r ON r.number = p.run ORDER BY p.run, p.key;
DROP TABLE run_param;
ALTER TABLE param_in_order RENAME TO run_param;
-- The beginning of a value is enough to find it, and fits into an index however long the value is.
CREATE INDEX run_param_by_value ON run_param (experiment_id, key, beginning, start_ms DESC, run);

CREATE TABLE tag_in_order (
  run           BIGINT NOT NULL REFERENCES run (number),
  key           TEXT NOT NULL,
  value         TEXT NOT NULL,
  experiment_id BIGINT NOT NULL,            -- of the run
  start_ms      BIGINT NOT NULL,            -- of the run
  beginning     TEXT NOT NULL,              -- the first 200 characters of the value
  PRIMARY KEY (run, key)
) WITHOUT ROWID;
INSERT INTO tag_in_order (run, key, value, experiment_id, start_ms, beginning)
SELECT t.run, t.key, t.value, r.experiment_id, r.start_ms, substr(t.value, 1, 200)
  FROM run_tag t JOIN run r ON r.number = t.run ORDER BY t.run, t.key;
DROP TABLE run_tag;
ALTER TABLE tag_in_order RENAME TO run_tag;
CREATE INDEX run_tag_by_value ON run_tag (experiment_id, key, beginning, start_ms DESC, run);

-- Few runs are made with a job's token: the others need no entry.
DROP INDEX run_by_owner;
CREATE INDEX run_by_owner ON run (owner) WHERE owner IS NOT NULL;
