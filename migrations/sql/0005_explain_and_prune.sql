-- What operators ask of the ledger: which rule decided about a delivery, and that its effect came about once.

alter table clerksync.webhook_delivery
    -- The rule that decided, by its name in the code; null in rows from before this revision.
    add column rule text,
    -- How often the facts of the delivery were joined: 0 while quarantined or ignored, else 1, and never more.
    add column times_applied bigint not null default 0;

-- For pruning.
create index membership_tombstone_removed_at_idx on clerksync.membership_tombstone (removed_at);
