-- What the service asks about itself.

-- name: is_read_only
-- True on a standby, and on a primary that was told to refuse writes.
select pg_is_in_recovery() or current_setting('default_transaction_read_only')::boolean;
