-- Who may administer, and everything that anybody did or tried. A key is kept by its SHA-256 only: it has 256 random
-- bits, so there is nothing to guess and nothing to slow down.
CREATE TABLE key (
    id         text PRIMARY KEY CHECK (id ~ '^key_[0-9a-f]{16}$'),
    hash       text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
    role       text NOT NULL CHECK (role IN ('viewer', 'operator', 'owner')),
    label      text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text
);

-- Each row holds the hash of the one before it, so that a row which is changed, taken out or put in shows.
CREATE TABLE audit (
    seq        bigint PRIMARY KEY CHECK (seq > 0),
    at_ms      bigint NOT NULL,
    actor      text NOT NULL,
    role       text NOT NULL,
    client     text NOT NULL,
    request_id text NOT NULL,
    action     text NOT NULL,
    target     text NOT NULL,
    status     integer NOT NULL,
    problem    text NOT NULL,
    detail     text NOT NULL,
    prev       text NOT NULL CHECK (prev ~ '^[0-9a-f]{64}$'),
    hash       text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$')
);

-- The chain's end; its lock puts the writers in a row.
CREATE TABLE audit_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seq      bigint NOT NULL,
    hash     text NOT NULL
);
INSERT INTO audit_head (seq, hash) VALUES (0, repeat('0', 64));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
