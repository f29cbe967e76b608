-- What the proxies and the journals have heard may be ahead of a database that comes out of a backup: every number that they compare is put beyond
-- all that they can know, and every subscription is told again. Called once by the operator, before subd starts: docs/operations/restore.md.
CREATE FUNCTION after_restore() RETURNS bigint LANGUAGE sql SET search_path FROM CURRENT AS $$
    UPDATE relay SET head = head + 1000000000, published = published + 1000000000;
    UPDATE subscription SET version = version + 1000000;
    DELETE FROM outbox;
    INSERT INTO outbox (subscription, version) SELECT id, version FROM subscription;
    SELECT setval('lease_id_seq', nextval('lease_id_seq') + 1000000000);
$$;

-- Batches of a journal that were applied after the backup was made are gone: goes on from the first that is there. Says of how many journals.
CREATE FUNCTION skip_lost_batches() RETURNS bigint LANGUAGE sql SET search_path FROM CURRENT AS $$
    WITH skipped AS (
        UPDATE journal j SET watermark = e.first - 1
          FROM (SELECT journal, min(seq) AS first FROM early_batch GROUP BY journal) e
         WHERE e.journal = j.journal AND j.watermark < e.first - 1
        RETURNING 1)
    SELECT count(*) FROM skipped;
$$;
