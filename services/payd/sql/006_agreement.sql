-- What other endpoints are asked to confirm: a digest of the events of each block that has any, from when the block is
-- read until all agree on it; null where nothing is to be compared (any more). `own_digest`: of the contract's own events
-- alone, for endpoints that cannot tell of transfers; `events`: how many there are in all.
ALTER TABLE block ADD COLUMN digest text CHECK (digest ~ '^0x[0-9a-f]{64}$'), ADD COLUMN own_digest text, ADD COLUMN events int NOT NULL DEFAULT 0;
CREATE INDEX block_claimed ON block (follower, number) WHERE digest IS NOT NULL;
