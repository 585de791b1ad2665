-- A job can be queued again: it gave way to another, or its node was lost.

ALTER TABLE job ADD COLUMN winner TEXT NOT NULL DEFAULT '';  -- the job to which it gives way
ALTER TABLE job ADD COLUMN losses BIGINT NOT NULL DEFAULT 0; -- how often its node was lost
CREATE INDEX job_by_end ON job (ended_us);

-- How many of a cluster's nodes one user's jobs may have at once; 0: any number.
ALTER TABLE compute_target ADD COLUMN max_instances_per_user BIGINT NOT NULL DEFAULT 0;
