-- Online endpoints and their deployments. What the data plane should run follows from these rows alone.

CREATE TABLE endpoint (
  name          TEXT PRIMARY KEY,
  description   TEXT NOT NULL,
  tags          TEXT NOT NULL,          -- JSON object of strings
  traffic       TEXT NOT NULL,          -- JSON object: percent by deployment
  primary_key   TEXT NOT NULL,          -- the keys themselves: their owners may ask for them
  secondary_key TEXT NOT NULL,
  created_by    TEXT NOT NULL,
  created_us    BIGINT NOT NULL,
  updated_us    BIGINT NOT NULL
);

CREATE TABLE deployment (
  endpoint    TEXT NOT NULL REFERENCES endpoint (name) ON DELETE CASCADE,
  name        TEXT NOT NULL,
  spec        TEXT NOT NULL,            -- JSON: the model and the settings that should be served
  previous    TEXT NOT NULL,            -- while updating: the spec to go back to when the new one fails; else ''
  state       TEXT NOT NULL,            -- Creating, Updating, Succeeded, Failed
  served      BIGINT NOT NULL,          -- 0: failed to start, and is not tried again
  error       TEXT NOT NULL,
  all_traffic BIGINT NOT NULL,          -- 1: gets all traffic once it is ready
  generation  BIGINT NOT NULL,          -- of the desired state that first had this spec
  description TEXT NOT NULL,
  tags        TEXT NOT NULL,
  created_by  TEXT NOT NULL,
  created_us  BIGINT NOT NULL,
  updated_us  BIGINT NOT NULL,
  PRIMARY KEY (endpoint, name)
);

-- One row: counts the changes to what should be served.
CREATE TABLE serving_generation (
  id         BIGINT PRIMARY KEY,
  generation BIGINT NOT NULL
);
INSERT INTO serving_generation (id, generation) VALUES (1, 0);
