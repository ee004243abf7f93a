-- The ledger of webhook deliveries.

-- name: claim_delivery
-- Claims the id; waits for a transaction that is claiming it now. Returns a row if this is the first to claim it.
-- $1 = svix_id, $2 = attempted_at, $3 = received_at, $4 = body_sha256, $5 = event_type, $6 = event_at,
-- $7 = clerk_user_id, $8 = clerk_org_id, $9 = outcome, $10 = body, $11 = quarantine_reason, $12 = rule,
-- $13 = lock_timeout from here on, null to leave it as it is
insert into clerksync.webhook_delivery (
    svix_id, attempted_at, received_at, body_sha256, event_type, event_at,
    clerk_user_id, clerk_org_id, outcome, body, quarantine_reason, rule, committed_at
)
select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp()
from (
    select set_config('lock_timeout', coalesce($13, current_setting('lock_timeout')), true) as value offset 0
) as patience
where patience.value is not null
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

-- name: claim_deliveries
-- As claim_delivery, for several: in one order for all, so that nobody waits in a circle. Returns the ids that were
-- not claimed before.
-- $1 = svix_ids, no id twice, $2 = attempted_ats, $3 = received_ats, $4 = body_sha256s, $5 = event_types,
-- $6 = event_ats, $7 = clerk_user_ids, $8 = clerk_org_ids, $9 = outcomes, $10 = bodies, $11 = quarantine_reasons,
-- $12 = rules, one of each for each id, $13 = lock_timeout from here on
insert into clerksync.webhook_delivery (
    svix_id, attempted_at, received_at, body_sha256, event_type, event_at,
    clerk_user_id, clerk_org_id, outcome, body, quarantine_reason, rule, committed_at
)
select
    d.svix_id, d.attempted_at, d.received_at, d.body_sha256, d.event_type, d.event_at,
    d.clerk_user_id, d.clerk_org_id, d.outcome, d.body, d.quarantine_reason, d.rule, clock_timestamp()
from (select set_config('lock_timeout', $13, true) as value offset 0) as patience
cross join unnest(
    $1::text [], $2::timestamptz [], $3::timestamptz [], $4::bytea [], $5::text [], $6::timestamptz [],
    $7::text [], $8::text [], $9::text [], $10::bytea [], $11::text [], $12::text []
) as d (
    svix_id, attempted_at, received_at, body_sha256, event_type, event_at,
    clerk_user_id, clerk_org_id, outcome, body, quarantine_reason, rule
)
where patience.value is not null
order by d.svix_id collate "C"
on conflict (svix_id) do nothing
returning svix_id;

-- name: settle_deliveries
-- Writes the outcomes and rules of deliveries that this transaction has claimed and whose facts it has joined. The
-- later in the list, the later they were committed: the last writer of a pair can be told.
-- $1 = svix_ids, $2 = outcomes, $3 = rules
update clerksync.webhook_delivery as w
set outcome = settled.outcome,
    rule = settled.rule,
    times_applied = w.times_applied + 1,
    committed_at = present.moment + settled.position * interval '1 microsecond'
from unnest($1::text [], $2::text [], $3::text []) with ordinality as settled (svix_id, outcome, rule, position)
cross join (select clock_timestamp() as moment offset 0) as present
where w.svix_id = settled.svix_id;

-- name: unclaim_deliveries
-- Gives back what this transaction has claimed.
-- $1 = svix_ids
delete from clerksync.webhook_delivery where svix_id = any($1::text []);

-- name: read_outcomes
-- $1 = svix_ids
select svix_id, outcome from clerksync.webhook_delivery where svix_id = any($1::text []);
