-- What a wrong clock has ended before its time is looked for.
CREATE INDEX subscription_ended ON subscription (expires_at) WHERE state = 'expired';
