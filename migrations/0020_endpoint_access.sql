-- Who may ask an endpoint besides those who hold its keys, and how often.

CREATE TABLE endpoint_access (
  endpoint TEXT PRIMARY KEY,
  access   TEXT NOT NULL  -- JSON: cors, rate_limit
);
