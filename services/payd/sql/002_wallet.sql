-- What the operator's wallet shall do on the chain, and every transaction that was ever signed for it. A signed
-- transaction stands here before it is sent, so that whoever leads next sends the same bytes.

-- `key` makes asking twice asking once. nonce: where the transaction that stands for the job now was signed.
-- sent_since: since when that one is not mined. refusals: of the contract, in a row.
CREATE TABLE wallet_job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    follower int NOT NULL REFERENCES follower,
    key text NOT NULL,
    kind text NOT NULL
        CHECK (kind IN ('refund', 'refund-transfer', 'revoke', 'unrevoke', 'withdraw', 'withdraw-fees')),
    target text NOT NULL,
    data text NOT NULL CHECK (data ~ '^0x([0-9a-f]{2}){4,}$'),
    actor text NOT NULL,
    reason text NOT NULL,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'mined', 'done', 'failed')),
    error text,
    attempts int NOT NULL DEFAULT 0,
    refusals int NOT NULL DEFAULT 0,
    address text,
    nonce bigint,
    tx_hash text,
    block_number bigint,
    block_hash text,
    reverted boolean,
    lost_nonces int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_since timestamptz,
    mined_at timestamptz,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (follower, key),
    CHECK (state NOT IN ('sent', 'mined') OR nonce IS NOT NULL),
    CHECK (state <> 'mined' OR (tx_hash IS NOT NULL AND block_number IS NOT NULL AND mined_at IS NOT NULL))
);
CREATE INDEX wallet_job_open ON wallet_job (follower, state, id) WHERE state IN ('queued', 'sent', 'mined');
CREATE INDEX wallet_job_nonce ON wallet_job (follower, address, nonce);
CREATE INDEX wallet_job_target ON wallet_job (follower, kind, target);

-- One nonce may have several transactions (replacements); at most one of them is ever mined.
CREATE TABLE wallet_tx (
    follower int NOT NULL REFERENCES follower,
    address text NOT NULL CHECK (address ~ '^0x[0-9a-f]{40}$'),
    nonce bigint NOT NULL CHECK (nonce >= 0),
    attempt int NOT NULL CHECK (attempt >= 1),
    job bigint NOT NULL REFERENCES wallet_job,
    hash text NOT NULL UNIQUE CHECK (hash ~ '^0x[0-9a-f]{64}$'),
    raw text NOT NULL CHECK (raw ~ '^0x02[0-9a-f]+$'),
    max_fee bigint NOT NULL,
    priority_fee bigint NOT NULL,
    gas bigint NOT NULL,
    epoch bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at timestamptz,
    sends int NOT NULL DEFAULT 0,
    answer text,
    PRIMARY KEY (follower, address, nonce, attempt)
);
CREATE INDEX wallet_tx_job ON wallet_tx (job);
