-- Up to which block everything was read a second time. What a refund that is known says of a payment that is found later. A third
-- trouble with the chain: a second reading found what others leave out.
ALTER TABLE follower ADD COLUMN looked_number bigint NOT NULL DEFAULT -1;
ALTER TABLE slot_event ADD COLUMN tx_hash text, ADD COLUMN amount numeric(78, 0);
ALTER TABLE chain_trouble DROP CONSTRAINT chain_trouble_kind_check;
ALTER TABLE chain_trouble ADD CONSTRAINT chain_trouble_kind_check CHECK (kind IN ('away', 'disagreement', 'wallet-budget', 'omission'));
