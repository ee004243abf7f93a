-- Bodies in quarantine may be encrypted.

alter table clerksync.webhook_delivery
    -- Names the key that encrypted the body, by a hash of it; null while the body is as it was sent.
    add column body_key text;
