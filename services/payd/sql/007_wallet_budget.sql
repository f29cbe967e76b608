-- The wallet's hour is spent: told of like what is wrong with the chain.
ALTER TABLE chain_trouble DROP CONSTRAINT chain_trouble_kind_check;
ALTER TABLE chain_trouble ADD CONSTRAINT chain_trouble_kind_check CHECK (kind IN ('away', 'disagreement', 'wallet-budget'));
