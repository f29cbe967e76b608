-- Money that goes back: refunds of payments, transfers that paid nothing, and the contract's signer as the chain says.

ALTER TABLE payment
    ADD COLUMN refund_tx text,
    ADD COLUMN refund_block bigint,
    ADD COLUMN refund_log_index int,
    ADD COLUMN refund_amount numeric(78, 0),
    ADD COLUMN refunded_at timestamptz,
    -- What it returns to where the refund's block leaves the chain.
    ADD COLUMN refund_before text;
CREATE INDEX payment_refund_block ON payment (follower, refund_block) WHERE refund_block IS NOT NULL;
CREATE INDEX payment_seq ON payment (follower, subscriber, service_id, seq);
CREATE INDEX payment_subscription ON payment (subscription);
ALTER TABLE payment_event ADD COLUMN refund_tx text;

ALTER TABLE slot_event DROP CONSTRAINT slot_event_kind_check;
ALTER TABLE slot_event ADD CONSTRAINT slot_event_kind_check CHECK (kind IN ('paid', 'revoked', 'refunded'));

-- Who signs quotes, in the chain's order; rolled back with its blocks.
CREATE TABLE signer_event (
    follower int NOT NULL REFERENCES follower,
    block_number bigint NOT NULL,
    log_index int NOT NULL,
    signer text NOT NULL,
    PRIMARY KEY (follower, block_number, log_index)
);

-- A transfer of a listed token to the contract that no payment explains. It buys nothing; it can be sent back. id is
-- keccak256(abi.encode(chain id, transaction, ordinal)), the ordinal counting such logs in the transaction.
CREATE TABLE transfer (
    id text PRIMARY KEY CHECK (id ~ '^0x[0-9a-f]{64}$'),
    follower int NOT NULL REFERENCES follower,
    revision bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('seen', 'confirming', 'confirmed', 'refunded', 'orphaned')),
    token text NOT NULL,
    sender text NOT NULL,
    amount numeric(78, 0) NOT NULL CHECK (amount > 0),
    tx_hash text NOT NULL,
    ordinal int NOT NULL,
    block_number bigint NOT NULL,
    block_hash text NOT NULL,
    log_index int NOT NULL,
    mined_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    refund_tx text,
    refund_block bigint,
    refund_log_index int,
    refund_to text,
    refund_amount numeric(78, 0),
    refunded_at timestamptz,
    refund_before text
);
CREATE INDEX transfer_block ON transfer (follower, block_number, log_index);
CREATE INDEX transfer_open ON transfer (follower, block_number) WHERE state IN ('seen', 'confirming');
CREATE INDEX transfer_refund_block ON transfer (follower, refund_block) WHERE refund_block IS NOT NULL;

CREATE TABLE transfer_event (
    transfer_id text NOT NULL REFERENCES transfer,
    revision bigint NOT NULL,
    from_state text,
    state text NOT NULL,
    tx_hash text NOT NULL,
    block_number bigint NOT NULL,
    block_hash text NOT NULL,
    refund_tx text,
    epoch bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (transfer_id, revision)
);
CREATE TRIGGER transfer_event_append_only BEFORE UPDATE OR DELETE ON transfer_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfer_event_no_truncate BEFORE TRUNCATE ON transfer_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Subscriptions that subd has revoked and whose slot the chain has not, a few: none that is under way, or failed or
-- was done a short while ago (the chain is read a little later). Nothing where subd's view cannot be read.
CREATE FUNCTION revoked_elsewhere(wanted int) RETURNS TABLE (subscription text, subscriber text, service_id text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN QUERY EXECUTE
        'SELECT s.id, p.subscriber, p.service_id
           FROM subscriptions.subscription_v1 s
           JOIN LATERAL (SELECT q.subscriber, q.service_id FROM payment q
                          WHERE q.subscription = s.id AND q.follower = $1 LIMIT 1) p ON true
          WHERE s.state = ''revoked''
            AND NOT coalesce((SELECT e.revoked FROM slot_event e
                               WHERE e.follower = $1 AND e.subscriber = p.subscriber AND e.service_id = p.service_id
                                 AND e.kind = ''revoked''
                               ORDER BY e.block_number DESC, e.log_index DESC LIMIT 1), false)
            AND NOT EXISTS (SELECT FROM wallet_job j
                             WHERE j.follower = $1 AND j.target = s.id AND j.kind IN (''revoke'', ''unrevoke'')
                               AND (j.state IN (''queued'', ''sent'', ''mined'')
                                    OR j.updated_at > clock_timestamp() - interval ''10 minutes''))
          ORDER BY s.id LIMIT 16' USING wanted;
EXCEPTION
    WHEN undefined_table OR invalid_schema_name OR insufficient_privilege OR undefined_column THEN
        RETURN;
END
$$;

-- What a transfer's event says. `before` is the state that was left, NULL for the first.
CREATE FUNCTION transfer_event_data(t transfer, before text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'transfer_id', t.id, 'revision', t.revision, 'state', t.state, 'from', before, 'sender', t.sender,
        'token', t.token, 'amount', t.amount::text, 'tx_hash', t.tx_hash, 'ordinal', t.ordinal,
        'block_number', t.block_number, 'block_hash', t.block_hash, 'refund_tx', t.refund_tx)
$$;
CREATE FUNCTION transfer_event_type(state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT 'transfer.' || CASE state WHEN 'seen' THEN 'unmatched' ELSE state END
$$;

CREATE OR REPLACE VIEW payment_v1 AS
SELECT p.id AS payment_id, p.revision, p.state, f.chain_id, f.contract, p.subscriber, p.service_id, p.token, p.terms,
       p.amount::numeric AS amount, p.plan, p.seq, p.start_at, p.expires_at, p.paid::numeric AS paid, p.tx_hash,
       p.block_number, p.log_index, p.seen_at, p.confirmed_at,
       p.subscription, p.reason, p.activated_at, p.refund_tx, p.refund_block, p.refund_amount::numeric AS refund_amount,
       p.refunded_at
  FROM payment p
  JOIN follower f ON f.id = p.follower;

-- same_as: the sender's last payment of the very amount, from which an operator may guess what was meant.
CREATE VIEW transfer_v1 AS
SELECT t.id AS transfer_id, t.revision, t.state, f.chain_id, f.contract, t.token, t.sender, t.amount::numeric AS amount,
       t.tx_hash, t.ordinal, t.block_number, t.log_index, t.seen_at, t.confirmed_at, t.refund_tx, t.refund_block,
       t.refund_to, t.refund_amount::numeric AS refund_amount, t.refunded_at,
       (SELECT p.id FROM payment p
         WHERE p.follower = t.follower AND p.subscriber = t.sender AND p.token = t.token AND p.amount = t.amount
         ORDER BY p.block_number DESC, p.log_index DESC LIMIT 1) AS same_as,
       (SELECT count(*) FROM payment p WHERE p.follower = t.follower AND p.subscriber = t.sender) AS sender_payments
  FROM transfer t
  JOIN follower f ON f.id = t.follower;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'octroi_adminsvc') THEN
        EXECUTE format('GRANT SELECT ON %I.transfer_v1 TO octroi_adminsvc', current_schema());
    END IF;
END
$$;
