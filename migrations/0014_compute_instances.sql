-- Compute instances, and clusters whose jobs give way to others.

ALTER TABLE compute_target ADD COLUMN low_priority BIGINT NOT NULL DEFAULT 0;
ALTER TABLE compute_target ADD COLUMN instance TEXT NOT NULL DEFAULT '';  -- what an instance has beyond a cluster: JSON
