-- The ledger of webhook deliveries.

-- name: enter_deliveries
-- Returns the ids that were entered; those that have been entered before, or are being entered by a transaction that
-- commits, are not. In one order for all, so that nobody waits in a circle. The later in the list, the later they were
-- committed: the last writer of a pair can be told.
-- $1 = svix_ids, no id twice, $2 = attempted_ats, $3 = received_ats, $4 = body_sha256s, $5 = event_types,
-- $6 = event_ats, $7 = clerk_user_ids, $8 = clerk_org_ids, $9 = outcomes, $10 = bodies, $11 = quarantine_reasons,
-- $12 = rules, $13 = how often the facts were joined: 0 or 1, $14 = body_keys; one of each for each id
insert into clerksync.webhook_delivery (
    svix_id, attempted_at, received_at, body_sha256, event_type, event_at,
    clerk_user_id, clerk_org_id, outcome, body, quarantine_reason, rule, times_applied, body_key, committed_at
)
select
    d.svix_id, d.attempted_at, d.received_at, d.body_sha256, d.event_type, d.event_at,
    d.clerk_user_id, d.clerk_org_id, d.outcome, d.body, d.quarantine_reason, d.rule, d.times_applied, d.body_key,
    statement_timestamp() + d.position * interval '1 microsecond'
from unnest(
    $1::text [], $2::timestamptz [], $3::timestamptz [], $4::bytea [], $5::text [], $6::timestamptz [],
    $7::text [], $8::text [], $9::text [], $10::bytea [], $11::text [], $12::text [], $13::bigint [],
    $14::text []
) with ordinality as d (
    svix_id, attempted_at, received_at, body_sha256, event_type, event_at,
    clerk_user_id, clerk_org_id, outcome, body, quarantine_reason, rule, times_applied, body_key, position
)
order by d.svix_id collate "C"
on conflict (svix_id) do nothing
returning svix_id;

-- name: settle_delivery
-- Writes what became of a delivery that was entered before and that this transaction has locked.
-- $1 = svix_id, $2 = outcome, $3 = event_type, $4 = event_at, $5 = clerk_user_id, $6 = clerk_org_id, $7 = body,
-- $8 = quarantine_reason, $9 = rule, $10 = how often its facts were joined now: 0 or 1, $11 = body_key
update clerksync.webhook_delivery
set outcome = $2,
    event_type = $3,
    event_at = $4,
    clerk_user_id = $5,
    clerk_org_id = $6,
    body = $7,
    quarantine_reason = $8,
    rule = $9,
    body_key = $11,
    times_applied = times_applied + $10,
    committed_at = clock_timestamp()
where svix_id = $1;

-- name: lock_delivery
-- $1 = svix_id
select
    svix_id, outcome, event_type, event_at, attempted_at, received_at, committed_at,
    clerk_user_id, clerk_org_id, body_sha256, body, body_key, quarantine_reason, rule
from clerksync.webhook_delivery
where svix_id = $1
for update;

-- name: read_delivery
-- $1 = svix_id
select
    svix_id, outcome, event_type, event_at, attempted_at, received_at, committed_at,
    clerk_user_id, clerk_org_id, body_sha256, body, body_key, quarantine_reason, rule
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

-- name: read_outcomes
-- $1 = svix_ids
select svix_id, outcome from clerksync.webhook_delivery where svix_id = any($1::text []);

-- name: lock_bodies_of_other_keys
-- What is in quarantine and was not encrypted with a key, after a position.
-- $1 = body_key, $2 = the last svix_id seen, or the empty text, $3 = how many at most
select svix_id, body, body_key, body_sha256
from clerksync.webhook_delivery
where outcome = 'quarantined' and body_key is distinct from $1 and svix_id > $2
order by svix_id
limit $3
for update;

-- name: write_body
-- Of a delivery that this transaction has locked.
-- $1 = svix_id, $2 = body, $3 = body_key
update clerksync.webhook_delivery set body = $2, body_key = $3 where svix_id = $1;
