-- Each user's jobs run as an account of the machine that follows from the user's id: an id is never given twice, so that
-- nobody comes by the files of a user who was deleted.

CREATE TABLE last_account (id BIGINT NOT NULL);
INSERT INTO last_account (id) SELECT COALESCE(MAX(id), 0) FROM account;
