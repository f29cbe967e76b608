-- Batches that came before their turn: kept here, so that what is delivered in any order is applied in one go.
CREATE TABLE early_batch (
    journal text NOT NULL,
    seq     bigint NOT NULL,
    sha256  text NOT NULL,
    payload text NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (journal, seq)
);
