-- The ledger of webhook deliveries.

-- name: claim_delivery
-- Claims the id; waits for a transaction that is claiming it now. Returns a row if this is the first to claim it.
-- $1 = svix_id, $2 = attempted_at, $3 = received_at, $4 = body_sha256, $5 = event_type, $6 = event_at,
-- $7 = clerk_user_id, $8 = clerk_org_id, $9 = outcome, $10 = body, $11 = quarantine_reason, $12 = rule
insert into clerksync.webhook_delivery (
    svix_id, attempted_at, received_at, body_sha256, event_type, event_at,
    clerk_user_id, clerk_org_id, outcome, body, quarantine_reason, rule, committed_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp())
on conflict (svix_id) do nothing
returning true;

-- name: settle_delivery
-- Writes what became of a delivery that this transaction has claimed or locked.
-- $1 = svix_id, $2 = outcome, $3 = event_type, $4 = event_at, $5 = clerk_user_id, $6 = clerk_org_id, $7 = body,
-- $8 = quarantine_reason, $9 = rule, $10 = how often its facts were joined now: 0 or 1
update clerksync.webhook_delivery
set outcome = $2,
    event_type = $3,
    event_at = $4,
    clerk_user_id = $5,
    clerk_org_id = $6,
    body = $7,
    quarantine_reason = $8,
    rule = $9,
    times_applied = times_applied + $10,
    committed_at = clock_timestamp()
where svix_id = $1;

-- name: lock_delivery
-- $1 = svix_id
select
    svix_id, outcome, event_type, event_at, attempted_at, received_at, committed_at,
    clerk_user_id, clerk_org_id, body_sha256, body, quarantine_reason, rule
from clerksync.webhook_delivery
where svix_id = $1
for update;

-- name: read_delivery
-- $1 = svix_id
select
    svix_id, outcome, event_type, event_at, attempted_at, received_at, committed_at,
    clerk_user_id, clerk_org_id, body_sha256, body, quarantine_reason, rule
from clerksync.webhook_delivery
where svix_id = $1;

-- name: list_deliveries
-- The latest received first, after a position; without their bodies.
-- $1 = outcome or null for all, $2 and $3 = received_at and svix_id of the last one seen, or null, $4 = how many
select
    svix_id, outcome, event_type, event_at, attempted_at, received_at, committed_at,
    clerk_user_id, clerk_org_id, body_sha256, null::bytea as body, quarantine_reason, rule
from clerksync.webhook_delivery
where ($1::text is null or outcome = $1)
    and ($2::timestamptz is null or (received_at, svix_id) < ($2, $3::text))
order by received_at desc, svix_id desc
limit $4;

-- name: list_deliveries_of_pair
-- The last ones that concern the user in the organization, the user everywhere, or the organization as a whole.
-- $1 = clerk_user_id, $2 = clerk_org_id, $3 = how many
select
    svix_id, outcome, event_type, event_at, attempted_at, received_at, committed_at,
    clerk_user_id, clerk_org_id, body_sha256, null::bytea as body, quarantine_reason, rule
from clerksync.webhook_delivery
where (clerk_user_id = $1 and (clerk_org_id = $2 or clerk_org_id is null))
    or (clerk_org_id = $2 and clerk_user_id is null)
order by committed_at desc
limit $3;

-- name: read_last_writer
-- The delivery that wrote the membership of a pair last; older ones may have been pruned.
-- $1 = clerk_user_id, $2 = clerk_org_id
select
    svix_id, outcome, event_type, event_at, attempted_at, received_at, committed_at,
    clerk_user_id, clerk_org_id, body_sha256, null::bytea as body, quarantine_reason, rule
from clerksync.webhook_delivery
where clerk_user_id = $1 and clerk_org_id = $2 and outcome = 'applied' and rule = 'newer'
order by committed_at desc
limit 1;

-- name: count_quarantined
select count(*) from clerksync.webhook_delivery where outcome = 'quarantined';
