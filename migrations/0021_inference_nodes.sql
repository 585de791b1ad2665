-- Machines that answer predictions beside the server: each has a token, and says where it answers.

CREATE TABLE inference_node (
  name       TEXT PRIMARY KEY,
  token_hash TEXT NOT NULL UNIQUE,  -- SHA-256 of its token, which opens what such a node needs and nothing else
  url        TEXT NOT NULL,         -- where it answers, as it said last; '' before it did
  grpc       TEXT NOT NULL,         -- HOST:PORT
  certificate TEXT NOT NULL,        -- SHA-256 of the one that it shows; '': it is plain
  seen_us    BIGINT NOT NULL,       -- about when it was heard of last; 0: never
  created_by TEXT NOT NULL,
  created_us BIGINT NOT NULL
);
