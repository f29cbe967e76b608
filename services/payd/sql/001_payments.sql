-- The chain as payd holds it, the payments found on it, and what subd still has to be told. Addresses and hashes
-- are lower-case hex. A follower is one contract on one chain; every write of the leader moves or checks its epoch.

CREATE TABLE follower (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chain_id bigint NOT NULL,
    contract text NOT NULL CHECK (contract ~ '^0x[0-9a-f]{40}$'),
    start_block bigint NOT NULL CHECK (start_block >= 0),
    epoch bigint NOT NULL DEFAULT 0,
    leader text,
    led_at timestamptz,
    cursor_number bigint NOT NULL,
    cursor_hash text,
    head_number bigint NOT NULL DEFAULT -1,
    confirmed_number bigint NOT NULL DEFAULT -1,
    polled_at timestamptz,
    UNIQUE (chain_id, contract)
);

-- The last blocks, and for ever those with an event: where a reorganisation of any depth finds its ancestor.
CREATE TABLE block (
    follower int NOT NULL REFERENCES follower,
    number bigint NOT NULL,
    hash text NOT NULL,
    pinned boolean NOT NULL,
    PRIMARY KEY (follower, number)
);
CREATE INDEX block_prune ON block (follower, number) WHERE NOT pinned;

CREATE TABLE payment (
    id text PRIMARY KEY CHECK (id ~ '^0x[0-9a-f]{64}$'),
    follower int NOT NULL REFERENCES follower,
    revision bigint NOT NULL,
    state text NOT NULL
        CHECK (state IN ('seen', 'confirming', 'confirmed', 'activated', 'orphaned', 'rejected', 'refunded')),
    reason text,
    subscriber text NOT NULL,
    service_id text NOT NULL,
    token text NOT NULL,
    terms text NOT NULL,
    amount numeric(78, 0) NOT NULL,
    paid numeric(20, 0) NOT NULL,
    plan int NOT NULL,
    seq int NOT NULL,
    start_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    subscription text NOT NULL,
    tx_hash text NOT NULL,
    block_number bigint NOT NULL,
    block_hash text NOT NULL,
    log_index int NOT NULL,
    mined_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    confirmed_at timestamptz,
    activated_at timestamptz,
    activated_revision bigint
);
CREATE INDEX payment_block ON payment (follower, block_number);
CREATE INDEX payment_open ON payment (follower, block_number, log_index) WHERE state IN ('seen', 'confirming');
CREATE INDEX payment_attention ON payment (follower, state) WHERE state <> 'activated';
CREATE INDEX payment_slot ON payment (subscriber, service_id) WHERE state IN ('seen', 'confirming');

-- The audit trail: one row for each transition, never changed.
CREATE TABLE payment_event (
    payment_id text NOT NULL REFERENCES payment,
    revision bigint NOT NULL,
    from_state text,
    state text NOT NULL,
    reason text,
    tx_hash text NOT NULL,
    block_number bigint NOT NULL,
    block_hash text NOT NULL,
    epoch bigint,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (payment_id, revision)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER payment_event_append_only BEFORE UPDATE OR DELETE ON payment_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER payment_event_no_truncate BEFORE TRUNCATE ON payment_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What happened to slots, in the chain's order; rolled back with its blocks.
CREATE TABLE slot_event (
    follower int NOT NULL REFERENCES follower,
    block_number bigint NOT NULL,
    log_index int NOT NULL,
    kind text NOT NULL CHECK (kind IN ('paid', 'revoked')),
    subscriber text NOT NULL,
    service_id text NOT NULL,
    seq int NOT NULL,
    terms text,
    revoked boolean,
    PRIMARY KEY (follower, block_number, log_index)
);
CREATE INDEX slot_event_slot ON slot_event (follower, subscriber, service_id, kind, block_number DESC, log_index DESC);

-- One hint a payment at most: a newer one takes the place of the older. A row goes when subd has said that it applied it.
CREATE TABLE outbox (
    payment_id text PRIMARY KEY REFERENCES payment,
    follower int NOT NULL REFERENCES follower,
    revision bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('confirmed', 'reversed')),
    attempts int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX outbox_due ON outbox (follower, next_at);

-- NULL where the price book's history cannot be read: then it decides nothing.
CREATE FUNCTION plan_known(wanted int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
DECLARE
    found_one boolean;
BEGIN
    EXECUTE 'SELECT EXISTS (SELECT FROM quotes.plan_v1 WHERE plan = $1)' INTO found_one USING wanted;
    RETURN found_one;
EXCEPTION
    WHEN undefined_table OR invalid_schema_name OR insufficient_privilege OR undefined_column THEN
        RETURN NULL;
END
$$;

CREATE VIEW payment_v1 AS
SELECT p.id AS payment_id, p.revision, p.state, f.chain_id, f.contract, p.subscriber, p.service_id, p.token, p.terms,
       p.amount::numeric AS amount, p.plan, p.seq, p.start_at, p.expires_at, p.paid::numeric AS paid, p.tx_hash,
       p.block_number, p.log_index, p.seen_at, p.confirmed_at
  FROM payment p
  JOIN follower f ON f.id = p.follower;

DO $$
DECLARE
    reader text;
BEGIN
    FOREACH reader IN ARRAY ARRAY['octroi_subd', 'octroi_adminsvc'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = reader) THEN
            EXECUTE format('GRANT USAGE ON SCHEMA payments TO %I', reader);
            EXECUTE format('GRANT SELECT ON payments.payment_v1 TO %I', reader);
        END IF;
    END LOOP;
END
$$;
