-- An endpoint may copy a part of its requests to one deployment.

ALTER TABLE endpoint ADD COLUMN mirror_traffic TEXT NOT NULL DEFAULT '{}'; -- JSON object: percent by deployment
