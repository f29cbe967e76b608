-- What the wallet has signed for within an hour is summed up before each signature.
CREATE INDEX wallet_tx_created ON wallet_tx (follower, address, created_at);
