-- Who went away, kept for an hour, so that services that keep answers of Ensure hear of it.

create table clerksync.removal (
    id bigint generated always as identity,
    -- Ids are given out before the commit, so their order tells nothing; with this a snapshot tells what was committed.
    transaction_id xid8 not null default pg_current_xact_id(),
    -- The one profile of both; with one of them null, all profiles of the other.
    clerk_user_id text,
    clerk_org_id text,
    logged_at timestamptz not null default clock_timestamp(),
    constraint removal_pkey primary key (id),
    constraint removal_ids_check check (clerk_user_id is not null or clerk_org_id is not null)
);

create index removal_transaction_id_idx on clerksync.removal (transaction_id);
-- For pruning.
create index removal_logged_at_idx on clerksync.removal (logged_at);

-- Names the time in which no number of a transaction is given out twice. Postgres empties an unlogged table after a
-- crash, on a standby that is promoted and on a physical backup that is restored, and those are the times when numbers
-- that were given out and not yet on disk are given out again. Whoever finds the table empty begins a new epoch.
create unlogged table clerksync.removal_epoch (
    id uuid not null default gen_random_uuid(),
    is_only boolean not null default true,
    constraint removal_epoch_pkey primary key (is_only),
    constraint removal_epoch_is_only_check check (is_only)
);

grant select, insert, delete on clerksync.removal to clerksync_service;
grant select, insert on clerksync.removal_epoch to clerksync_service;
