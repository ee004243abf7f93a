-- Forgets what nobody can ask for any more, in batches. The earlier of two clocks counts, so that one that has jumped
-- forgets nothing.

-- name: try_lock
-- One at a time; whoever comes second leaves the work to the first.
select pg_try_advisory_xact_lock(hashtextextended('clerksync:prune', 0));

-- name: prune_deliveries
-- What is quarantined stays until it is redriven.
-- $1 = now, by the caller's clock, $2 = how long deliveries are kept, $3 = how many at most
delete from clerksync.webhook_delivery
where svix_id in (
    select svix_id from clerksync.webhook_delivery
    where received_at < least($1, now()) - $2::interval and outcome <> 'quarantined'
    order by received_at
    limit $3
);

-- name: prune_tombstones
-- An event that a tombstone stands against is older than it. Svix keeps events for 90 days; the quarantine keeps them
-- longer, so tombstones are kept as long before the oldest event in quarantine.
-- $1 = now, by the caller's clock, $2 = how long tombstones are kept, $3 = how many at most
with horizon as (
    select least($1, now(), min(received_at)) - $2::interval as removed_at
    from clerksync.webhook_delivery
    where outcome = 'quarantined'
),

pruned as (
    select t.clerk_user_id, t.clerk_org_id
    from clerksync.membership_tombstone as t, horizon
    where t.removed_at < horizon.removed_at
    order by t.removed_at
    limit $3
)

delete from clerksync.membership_tombstone as t
using pruned, horizon
where t.clerk_user_id = pruned.clerk_user_id
    and t.clerk_org_id = pruned.clerk_org_id
    and t.removed_at < horizon.removed_at;

-- name: prune_removals
-- Transactions that take longer than this to commit after their removal would not be told.
-- $1 = now, by the caller's clock, $2 = how long removals are kept in their log, $3 = how many at most
delete from clerksync.removal
where id in (
    select id from clerksync.removal
    where logged_at < least($1, now()) - $2::interval
    order by logged_at
    limit $3
);
