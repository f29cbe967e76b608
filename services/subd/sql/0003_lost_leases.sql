-- The requests of a journal are numbered, so that one that was overtaken grants nothing that nobody hears of.
ALTER TABLE journal ADD COLUMN round bigint NOT NULL DEFAULT 0;
CREATE INDEX lease_journal ON lease (journal, id) WHERE NOT closed;
