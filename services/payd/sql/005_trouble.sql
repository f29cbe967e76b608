-- What is wrong with the chain at present: a row while it lasts, so that its beginning and its end are told once,
-- whoever leads in between.
CREATE TABLE chain_trouble (
    follower int NOT NULL REFERENCES follower,
    kind text NOT NULL CHECK (kind IN ('away', 'disagreement')),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    detail text NOT NULL,
    PRIMARY KEY (follower, kind)
);
