ALTER TABLE subscription ADD COLUMN requests_per_day bigint NOT NULL DEFAULT 0;

-- One row a subscription and UTC day, whatever its plans were on that day. granted: what leases of the day hold, or
-- have spent; used: what the ledger says was spent on them.
CREATE TABLE quota_day (
    subscription     text NOT NULL REFERENCES subscription,
    day              date NOT NULL,
    granted_requests bigint NOT NULL DEFAULT 0,
    used_requests    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, day)
);
CREATE INDEX quota_day_age ON quota_day (day);

INSERT INTO quota_day (subscription, day, granted_requests, used_requests)
    SELECT subscription, day, sum(lease_held(granted_requests, used_requests, closed)), sum(used_requests)
      FROM lease WHERE day >= (now() AT TIME ZONE 'UTC')::date - 1 GROUP BY subscription, day;
