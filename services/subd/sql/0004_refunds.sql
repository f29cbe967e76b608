-- A refund clears the whole grant of a slot: what was bought before it counts no longer, whatever becomes known later.
ALTER TABLE subscription_payment
    ADD COLUMN refunded boolean NOT NULL DEFAULT false,
    -- Whether it ever was the grant: what was never, and comes to a revoked subscription, is owed back.
    ADD COLUMN granted boolean NOT NULL DEFAULT false;
UPDATE subscription_payment f SET granted = true FROM subscription s WHERE s.payment_id = f.payment_id;

-- payd writes revocations to the chain.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'octroi_payd') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO octroi_payd', current_schema());
        GRANT SELECT ON subscription_v1 TO octroi_payd;
    END IF;
END
$$;
