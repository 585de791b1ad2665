-- Jobs that an engine (Slurm) runs on machines elsewhere, until they have ended.

CREATE TABLE remote_job (
  job        TEXT PRIMARY KEY,
  remote_key TEXT NOT NULL UNIQUE,  -- an attempt is known as KEY-ATTEMPT to the engine and to its nodes
  attempt    BIGINT NOT NULL,
  token_hash TEXT NOT NULL,         -- of the attempt's token: SHA-256
  losses     BIGINT NOT NULL,       -- earlier attempts that lost a node
  nodes      TEXT NOT NULL          -- those that claimed this attempt, JSON array; '': none yet
);

-- Where in the engine's cluster the target's jobs go, JSON; '': they run on this machine.
ALTER TABLE compute_target ADD COLUMN engine TEXT NOT NULL DEFAULT '';
