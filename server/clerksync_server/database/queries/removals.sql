-- The log of removals, read by positions. A position is a snapshot: the transactions that had been committed then.

-- name: read_removals
-- What was removed since a position, and the present as a position: one statement, and so one snapshot for both.
-- Transactions commit in another order than that of their numbers or of any sequence; a snapshot knows which had.
-- A position is known while transactions are numbered as they were then, and while the log has kept what came since.
-- $1 = epoch, $2 = snapshot, $3 = time in ms of the position, all null to learn only the present;
-- $4 = how old it may be in ms
with present as (
    select
        (select epoch.id::text from clerksync.removal_epoch as epoch) as epoch,
        pg_current_snapshot() as snapshot,
        (extract(epoch from clock_timestamp()) * 1000)::bigint as time_ms
),

judged as (
    select
        epoch,
        snapshot,
        time_ms,
        coalesce(
            epoch = $1::text
            and time_ms - $3::bigint <= $4::bigint
            and pg_snapshot_xmax($2::text::pg_snapshot) <= pg_snapshot_xmax(snapshot),
            false
        ) as is_known
    from present
)

select
    judged.epoch,
    judged.snapshot::text as snapshot,
    judged.time_ms,
    judged.is_known,
    news.clerk_user_ids,
    news.clerk_org_ids
from judged
left join lateral (
    select
        array_agg(r.clerk_user_id order by r.id) as clerk_user_ids,
        array_agg(r.clerk_org_id order by r.id) as clerk_org_ids
    from clerksync.removal as r
    where judged.is_known
        and r.transaction_id >= pg_snapshot_xmin($2::text::pg_snapshot)
        and not pg_visible_in_snapshot(r.transaction_id, $2::text::pg_snapshot)
        -- Rows of a dump that was restored into a younger server have numbers that are still to come.
        and pg_visible_in_snapshot(r.transaction_id, judged.snapshot)
) as news on true;

-- name: begin_epoch
insert into clerksync.removal_epoch default values
on conflict (is_only) do nothing;

-- name: notify
-- Wakes those who follow the log. It tells nothing: what was removed stands in the log.
-- $1 = payload
select pg_notify('clerksync_removals', $1);
