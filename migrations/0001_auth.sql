-- People, what they present to prove who they are, and what was done by whom.

CREATE TABLE account (
  id         BIGINT PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  role       TEXT NOT NULL,            -- administrator, member, viewer
  created_by TEXT NOT NULL,
  created_us BIGINT NOT NULL
);

-- A token is kept as the SHA-256 of its text; the text is shown once.
CREATE TABLE token (
  id         TEXT PRIMARY KEY,
  account_id BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  hash       TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,            -- what it is for
  run        TEXT,                     -- set for a job's own token: the run that it may write
  created_by TEXT NOT NULL,
  created_us BIGINT NOT NULL,
  expires_us BIGINT                    -- NULL: never
);
CREATE INDEX token_by_run ON token (run);

CREATE TABLE audit (
  at_us  BIGINT NOT NULL,
  actor  TEXT NOT NULL,
  action TEXT NOT NULL,                -- "user_create", a route's id
  target TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at_us);
