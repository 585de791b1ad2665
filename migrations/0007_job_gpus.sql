-- The GPUs of the node that a job runs on, so that a restarted server does not give them away: "0,1", or ''.

ALTER TABLE job ADD COLUMN gpus TEXT NOT NULL DEFAULT '';
