-- What was bought, what may be spent of it, what was spent, and what the proxies have yet to hear.

CREATE TABLE subscription (
    id             text PRIMARY KEY,
    chain_id       bigint NOT NULL,
    contract       text NOT NULL,
    subscriber     text NOT NULL,
    service_id     text NOT NULL,
    service        text NOT NULL,
    state          text NOT NULL CHECK (state IN ('pending', 'active', 'suspended', 'expired', 'revoked')),
    version        bigint NOT NULL DEFAULT 0,
    -- The grant: the confirmed payment with the highest seq. What it bought is copied from its plan, which never changes.
    payment_id     text,
    seq            int NOT NULL DEFAULT 0,
    tier           text NOT NULL DEFAULT '',
    plan           int NOT NULL DEFAULT 0,
    start_at       bigint NOT NULL DEFAULT 0,
    expires_at     bigint NOT NULL DEFAULT 0,
    period_seconds bigint NOT NULL DEFAULT 1 CHECK (period_seconds > 0),
    rate           bigint NOT NULL DEFAULT 0,
    burst          bigint NOT NULL DEFAULT 0,
    requests       bigint NOT NULL DEFAULT 0,
    bytes          bigint NOT NULL DEFAULT 0,
    messages       bigint NOT NULL DEFAULT 0,
    cost           bigint NOT NULL DEFAULT 0,
    bandwidth      bigint NOT NULL DEFAULT 0,
    revoked_reason text,
    revoked_by     text,
    revoked_at     timestamptz,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscription_due ON subscription (expires_at) WHERE state = 'active';
CREATE INDEX subscription_holder ON subscription (subscriber, service);

-- Every payment that was ever applied, at the revision that was. A subscription is the fold of those that count.
CREATE TABLE subscription_payment (
    payment_id   text PRIMARY KEY,
    subscription text NOT NULL REFERENCES subscription,
    revision     bigint NOT NULL,
    counts       boolean NOT NULL,
    seq          int NOT NULL,
    plan         int NOT NULL,
    start_at     bigint NOT NULL,
    expires_at   bigint NOT NULL,
    block_number bigint NOT NULL,
    applied_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscription_payment_fold ON subscription_payment (subscription, seq DESC);

-- One row a subscription and period. granted: what leases hold, or have spent; used: what the ledger says was spent.
CREATE TABLE quota (
    subscription     text NOT NULL REFERENCES subscription,
    period           bigint NOT NULL,
    granted_requests bigint NOT NULL DEFAULT 0,
    granted_bytes    bigint NOT NULL DEFAULT 0,
    granted_messages bigint NOT NULL DEFAULT 0,
    granted_cost     bigint NOT NULL DEFAULT 0,
    used_requests    bigint NOT NULL DEFAULT 0,
    used_bytes       bigint NOT NULL DEFAULT 0,
    used_messages    bigint NOT NULL DEFAULT 0,
    used_cost        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, period)
);

-- The name of a proxy's boot. The watermark is never deleted: a batch that comes again years later is known.
CREATE TABLE journal (
    journal    text PRIMARY KEY,
    watermark  bigint NOT NULL DEFAULT 0,
    final      boolean NOT NULL DEFAULT false,
    fenced     boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- -1: no limit. period is what the lease and its usage are labelled with; quota_period the row it draws on, which an
-- upgrade in mid-period moves.
CREATE TABLE lease (
    id               bigserial PRIMARY KEY,
    journal          text NOT NULL,
    subscription     text NOT NULL,
    period           bigint NOT NULL,
    quota_period     bigint NOT NULL,
    day              date NOT NULL,
    deadline_ms      bigint NOT NULL,
    granted_requests bigint NOT NULL,
    granted_bytes    bigint NOT NULL,
    granted_messages bigint NOT NULL,
    granted_cost     bigint NOT NULL,
    used_requests    bigint NOT NULL DEFAULT 0,
    used_bytes       bigint NOT NULL DEFAULT 0,
    used_messages    bigint NOT NULL DEFAULT 0,
    used_cost        bigint NOT NULL DEFAULT 0,
    closed           boolean NOT NULL DEFAULT false
);
CREATE INDEX lease_open ON lease (subscription, quota_period) WHERE NOT closed;

CREATE TABLE usage_batch (
    journal    text NOT NULL,
    seq        bigint NOT NULL,
    sha256     text NOT NULL,
    entries    int NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (journal, seq)
);
CREATE INDEX usage_batch_age ON usage_batch (applied_at);

CREATE TABLE usage_day (
    subscription text NOT NULL,
    period       bigint NOT NULL,
    day          date NOT NULL,
    requests     bigint NOT NULL DEFAULT 0,
    bytes_in     bigint NOT NULL DEFAULT 0,
    bytes_out    bigint NOT NULL DEFAULT 0,
    messages     bigint NOT NULL DEFAULT 0,
    events       bigint NOT NULL DEFAULT 0,
    cost         bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, period, day)
);

-- What could not be applied, whole, for a person to look at.
CREATE TABLE parked_batch (
    id        bigserial PRIMARY KEY,
    subject   text NOT NULL,
    sha256    text NOT NULL,
    reason    text NOT NULL,
    payload   bytea NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (subject, sha256)
);

-- Changes on their way to the proxies. head: their number in the order of publication, given by the one relay.
CREATE TABLE outbox (
    id           bigserial PRIMARY KEY,
    subscription text NOT NULL,
    version      bigint NOT NULL,
    head         bigint UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE relay (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    head      bigint NOT NULL DEFAULT 0,
    published bigint NOT NULL DEFAULT 0
);
INSERT INTO relay DEFAULT VALUES;

-- Refresh tokens by their SHA-256. salt: what makes the successor out of the token that was presented.
CREATE TABLE refresh_family (
    family       text PRIMARY KEY,
    subscription text NOT NULL REFERENCES subscription,
    revoked      boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE refresh_token (
    hash       text PRIMARY KEY,
    family     text NOT NULL REFERENCES refresh_family ON DELETE CASCADE,
    expires_at bigint NOT NULL,
    spent_at   bigint,
    salt       text,
    successor  text
);
CREATE INDEX refresh_token_age ON refresh_token (expires_at);
CREATE INDEX refresh_token_family ON refresh_token (family);

-- What a lease keeps away from the rest of its quota.
CREATE FUNCTION lease_held(granted bigint, used bigint, closed boolean) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN closed THEN greatest(used, 0) ELSE greatest(granted, used, 0) END;

CREATE VIEW subscription_v1 AS
    SELECT id, version, state, service, subscriber, tier, plan, start_at, expires_at, created_at, updated_at
      FROM subscription;
CREATE VIEW usage_v1 AS
    SELECT subscription, period, day, requests, bytes_in, bytes_out, messages, events, cost
      FROM usage_day;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'octroi_adminsvc') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO octroi_adminsvc', current_schema());
        GRANT SELECT ON subscription_v1, usage_v1 TO octroi_adminsvc;
    END IF;
END
$$;
