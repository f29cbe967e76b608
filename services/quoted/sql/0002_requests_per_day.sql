-- 0: no limit. Plans of before have none; what is appended to the view changes nothing for who reads it already.
ALTER TABLE plan ADD COLUMN requests_per_day bigint NOT NULL DEFAULT 0 CHECK (requests_per_day >= 0);
CREATE OR REPLACE VIEW plan_v1 AS
    SELECT id AS plan, tier, version, period_seconds, rate, burst, requests, bytes, messages, cost, bandwidth,
           requests_per_day
      FROM plan;
