-- What was for sale and when. A plan is an immutable (tier, version): payments name it for ever, so a row is never
-- changed, removed or numbered again. Ids have 16 bits because a slot of the contract has no more for them.
CREATE TABLE plan (
    id             integer PRIMARY KEY CHECK (id BETWEEN 1 AND 65535),
    tier           text NOT NULL CHECK (tier ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    version        integer NOT NULL CHECK (version > 0),
    period_seconds bigint NOT NULL CHECK (period_seconds > 0),
    rate           integer NOT NULL CHECK (rate BETWEEN 0 AND 65535),
    burst          integer NOT NULL CHECK (burst >= 0),
    requests       bigint NOT NULL CHECK (requests >= 0),
    bytes          bigint NOT NULL CHECK (bytes >= 0),
    messages       bigint NOT NULL CHECK (messages >= 0),
    cost           bigint NOT NULL CHECK (cost >= 0),
    bandwidth      integer NOT NULL CHECK (bandwidth BETWEEN 0 AND 65535),
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tier, version)
);

CREATE TABLE service (
    service_id text PRIMARY KEY CHECK (service_id ~ '^0x[0-9a-f]{64}$'),
    name       text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Each price list that was ever in force, in the order in which it came into force.
CREATE TABLE price_book (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version   text NOT NULL,
    content   json NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER plan_immutable BEFORE UPDATE OR DELETE ON plan
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER plan_no_truncate BEFORE TRUNCATE ON plan
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER service_immutable BEFORE UPDATE OR DELETE ON service
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER service_no_truncate BEFORE TRUNCATE ON service
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_book_immutable BEFORE UPDATE OR DELETE ON price_book
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER price_book_no_truncate BEFORE TRUNCATE ON price_book
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE VIEW plan_v1 AS
    SELECT id AS plan, tier, version, period_seconds, rate, burst, requests, bytes, messages, cost, bandwidth FROM plan;
CREATE VIEW service_v1 AS
    SELECT service_id, name FROM service;

DO $$
DECLARE
    reader text;
BEGIN
    FOREACH reader IN ARRAY ARRAY['octroi_subd', 'octroi_payd', 'octroi_adminsvc'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = reader) THEN
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), reader);
            EXECUTE format('GRANT SELECT ON plan_v1, service_v1 TO %I', reader);
        END IF;
    END LOOP;
END
$$;
