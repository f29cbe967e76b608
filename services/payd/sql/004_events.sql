-- What anyone may be told of, written in the transaction that made it true; a row goes when the event stream has it.
-- Rows of one payment are in the order of its revisions: whoever writes one holds the payment's row.

CREATE TABLE event_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event uuid NOT NULL DEFAULT gen_random_uuid(), -- the event's id, the same each time it is sent
    follower int NOT NULL REFERENCES follower,
    type text NOT NULL CHECK (type ~ '^[a-z]{1,32}\.[a-z-]{1,32}$'),
    subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    data jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts int NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX event_outbox_order ON event_outbox (follower, id);
-- A row that the stream does not take holds up those about the same thing, and no others.
CREATE INDEX event_outbox_postponed ON event_outbox (follower, subject, id) WHERE attempts > 0;

-- What a payment's event says. `before` is the state that was left, NULL for the first.
CREATE FUNCTION payment_event_data(p payment, before text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'payment_id', p.id, 'revision', p.revision, 'state', p.state, 'from', before, 'reason', p.reason,
        'subscriber', p.subscriber, 'service_id', p.service_id, 'subscription', p.subscription,
        'token', p.token, 'amount', p.amount::text, 'plan', p.plan, 'seq', p.seq, 'start', p.start_at, 'expiry', p.expires_at,
        'tx_hash', p.tx_hash, 'block_number', p.block_number, 'block_hash', p.block_hash, 'refund_tx', p.refund_tx, 'refund_amount', p.refund_amount::text)
$$;

-- `confirming` says nothing that a reader could act on.
CREATE FUNCTION payment_tells(state text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT state IN ('seen', 'confirmed', 'activated', 'orphaned', 'rejected', 'refunded')
$$;

-- Names for a receipt's reader; NULL where the price book's history cannot be read.
CREATE FUNCTION sold_names(wanted int, service text, OUT tier text, OUT tier_version int, OUT service_name text)
LANGUAGE plpgsql STABLE AS $$
BEGIN
    EXECUTE 'SELECT tier, version FROM quotes.plan_v1 WHERE plan = $1' INTO tier, tier_version USING wanted;
    EXECUTE 'SELECT name FROM quotes.service_v1 WHERE service_id = $1' INTO service_name USING service;
EXCEPTION
    WHEN undefined_table OR invalid_schema_name OR insufficient_privilege OR undefined_column THEN
        tier := NULL;
        tier_version := NULL;
        service_name := NULL;
END
$$;
