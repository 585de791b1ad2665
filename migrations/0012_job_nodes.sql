-- All the nodes that a job has, with their GPUs: "c-0", "c-0:0,1 c-1:2,3", or '' while it waits. The column "node" keeps the
-- first one's name for people who look; "gpus" is not read any more.

ALTER TABLE job ADD COLUMN nodes TEXT NOT NULL DEFAULT '';
UPDATE job SET nodes = CASE WHEN gpus = '' THEN node ELSE node || ':' || gpus END;
