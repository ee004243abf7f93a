-- The facts of many deliveries at once. What they come to is decided in memory, by clerksync_server/rules, between the
-- reads and the writes; that is exact because the transaction holds the locks of all that is read. Two transactions may
-- share the lock of an organization, so its row is locked as well, and one that is missing may turn up meanwhile.

-- name: lock_and_recall
-- Takes the locks that nobody else holds, as try_lock_keys does, and looks up which deliveries are in the ledger.
-- Returns the names of the locks that others hold, and the outcomes of deliveries that are known. One that is entered
-- between the look and the locks is noticed when it is entered again.
-- $1 = names of locks, $2 = exclusive or shared, for each name, $3 = svix_ids
select tried.name as held, null as svix_id, null as outcome
from (
    select
        locks.name,
        case
            when locks.exclusive then pg_try_advisory_xact_lock(hashtextextended(locks.name, 0))
            else pg_try_advisory_xact_lock_shared(hashtextextended(locks.name, 0))
        end as is_taken
    from unnest($1::text [], $2::boolean []) as locks (name, exclusive)
    offset 0
) as tried
where not tried.is_taken
union all
select null, w.svix_id, w.outcome
from unnest($3::text []) as asked (svix_id)
inner join clerksync.webhook_delivery as w on w.svix_id = asked.svix_id;

-- name: read_rows
-- Returns a row for each user or organization that is deleted, for each organization that is there, which is locked as
-- well, and for each pair. All at once, for a round trip takes longer than the reading.
-- $1 = clerk_user_ids, $2 = clerk_org_ids, $3 and $4 = clerk_user_ids and clerk_org_ids, one of each for each pair
with present as materialized (
    -- In one order for all, so that nobody waits in a circle.
    select clerk_org_id, name, slug, image_url, clerk_created_at, clerk_updated_at, clerk_event_at
    from public.organization
    where clerk_org_id = any($2::text [])
    order by clerk_org_id collate "C"
    for no key update
)

select
    'pair' as subject,
    pair.clerk_user_id,
    pair.clerk_org_id,
    null::timestamptz as deleted_at,
    null as name,
    null as slug,
    null as image_url,
    null::timestamptz as clerk_created_at,
    null::timestamptz as clerk_updated_at,
    null::timestamptz as clerk_event_at,
    p.id is not null as has_profile,
    p.clerk_membership_id,
    p.membership_created_at,
    p.membership_updated_at,
    p.membership_event_at,
    p.role,
    p.evidence_at,
    t.through_created_at,
    t.through_membership_id,
    t.removed_at
from unnest($3::text [], $4::text []) as pair (clerk_user_id, clerk_org_id)
left join public.user_profile as p
    on p.clerk_user_id = pair.clerk_user_id and p.clerk_org_id = pair.clerk_org_id
left join clerksync.membership_tombstone as t
    on t.clerk_user_id = pair.clerk_user_id and t.clerk_org_id = pair.clerk_org_id
union all
select
    'organization', null, o.clerk_org_id, null, o.name, o.slug, o.image_url,
    o.clerk_created_at, o.clerk_updated_at, o.clerk_event_at,
    null, null, null, null, null, null, null, null, null, null
from present as o
union all
select
    'deleted user', d.clerk_id, null, d.deleted_at,
    null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null
from clerksync.deleted_entity as d
where d.kind = 'user' and d.clerk_id = any($1::text [])
union all
select
    'deleted organization', null, d.clerk_id, d.deleted_at,
    null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null
from clerksync.deleted_entity as d
where d.kind = 'organization' and d.clerk_id = any($2::text []);

-- name: mark_users_deleted
-- $1 = clerk_user_ids, $2 = deleted_ats
insert into clerksync.deleted_entity as d (kind, clerk_id, deleted_at)
select 'user', told.clerk_id, told.deleted_at
from unnest($1::text [], $2::timestamptz []) as told (clerk_id, deleted_at)
on conflict (kind, clerk_id) do update set deleted_at = greatest(d.deleted_at, excluded.deleted_at);

-- name: delete_profiles
-- Who follows removals is told, once for all, if there was anything to delete.
-- $1 = clerk_user_ids, $2 = clerk_org_ids, one of each for each pair, $3 = clerk_user_ids of none of these, who lose all
with ended as (
    delete from public.user_profile as p
    using unnest($1::text [], $2::text []) as pair (clerk_user_id, clerk_org_id)
    where p.clerk_user_id = pair.clerk_user_id and p.clerk_org_id = pair.clerk_org_id
    returning p.clerk_user_id, p.clerk_org_id
),

deleted as (
    delete from public.user_profile where clerk_user_id = any($3::text []) returning clerk_user_id
),

logged as (
    insert into clerksync.removal (clerk_user_id, clerk_org_id)
    select clerk_user_id, clerk_org_id from ended
    union all
    select distinct clerk_user_id, null from deleted
    returning true
)

select pg_notify('clerksync_removals', '') where exists (select from logged);

-- name: insert_organizations
-- Those without times are placeholders. In one order for all, because whoever inserts the same one waits for the other.
-- Returns those that nobody else has inserted meanwhile.
-- $1 = clerk_org_ids, $2 = names, $3 = slugs, $4 = image_urls, $5 = clerk_created_ats, $6 = clerk_updated_ats,
-- $7 = clerk_event_ats
insert into public.organization (
    clerk_org_id, name, slug, image_url, is_placeholder, clerk_created_at, clerk_updated_at, clerk_event_at
)
select
    told.clerk_org_id, told.name, told.slug, told.image_url, told.clerk_updated_at is null,
    told.clerk_created_at, told.clerk_updated_at, told.clerk_event_at
from unnest(
    $1::text [], $2::text [], $3::text [], $4::text [], $5::timestamptz [], $6::timestamptz [], $7::timestamptz []
) as told (clerk_org_id, name, slug, image_url, clerk_created_at, clerk_updated_at, clerk_event_at)
order by told.clerk_org_id collate "C"
on conflict (clerk_org_id) do nothing
returning clerk_org_id;

-- name: write_rows
-- Changes organizations that are there, writes tombstones, and makes or changes profiles.
-- Returns how many organizations and how many profiles were written: fewer if one has come or gone meanwhile.
-- $1 = clerk_org_ids, $2 = names, $3 = slugs, $4 = image_urls, $5 = clerk_created_ats, $6 = clerk_updated_ats,
-- $7 = clerk_event_ats; one of each for each organization
-- $8 = clerk_user_ids, $9 = clerk_org_ids, $10 = through_created_ats, $11 = through_membership_ids, $12 = removed_ats;
-- one of each for each tombstone
-- $13 = clerk_user_ids, $14 = clerk_org_ids, $15 = clerk_membership_ids, $16 = membership_created_ats,
-- $17 = membership_updated_ats, $18 = membership_event_ats, $19 = roles, $20 = whether the profile is missing;
-- one of each for each membership
with organizations as (
    update public.organization as o
    set name = told.name,
        slug = told.slug,
        image_url = told.image_url,
        is_placeholder = false,
        clerk_created_at = told.clerk_created_at,
        clerk_updated_at = told.clerk_updated_at,
        clerk_event_at = told.clerk_event_at,
        updated_at = now()
    from unnest(
        $1::text [], $2::text [], $3::text [], $4::text [], $5::timestamptz [], $6::timestamptz [], $7::timestamptz []
    ) as told (clerk_org_id, name, slug, image_url, clerk_created_at, clerk_updated_at, clerk_event_at)
    where o.clerk_org_id = told.clerk_org_id
    returning true
),

tombstones as (
    insert into clerksync.membership_tombstone (
        clerk_user_id, clerk_org_id, through_created_at, through_membership_id, removed_at
    )
    select told.clerk_user_id, told.clerk_org_id, told.through_created_at, told.through_membership_id, told.removed_at
    from unnest($8::text [], $9::text [], $10::timestamptz [], $11::text [], $12::timestamptz []) as told (
        clerk_user_id, clerk_org_id, through_created_at, through_membership_id, removed_at
    )
    on conflict (clerk_user_id, clerk_org_id) do update set
        through_created_at = excluded.through_created_at,
        through_membership_id = excluded.through_membership_id,
        removed_at = excluded.removed_at,
        updated_at = now()
),

memberships as materialized (
    select told.*
    from unnest(
        $13::text [], $14::text [], $15::text [], $16::timestamptz [], $17::timestamptz [], $18::timestamptz [],
        $19::text [], $20::boolean []
    ) as told (
        clerk_user_id, clerk_org_id, clerk_membership_id,
        membership_created_at, membership_updated_at, membership_event_at, role, is_missing
    )
),

changed as (
    update public.user_profile as p
    set clerk_membership_id = told.clerk_membership_id,
        membership_created_at = told.membership_created_at,
        membership_updated_at = told.membership_updated_at,
        membership_event_at = told.membership_event_at,
        role = told.role,
        evidence_at = null,
        updated_at = now()
    from memberships as told
    where not told.is_missing and p.clerk_user_id = told.clerk_user_id and p.clerk_org_id = told.clerk_org_id
    returning true
),

made as (
    insert into public.user_profile (
        clerk_user_id, clerk_org_id, clerk_membership_id,
        membership_created_at, membership_updated_at, membership_event_at, role
    )
    select
        clerk_user_id, clerk_org_id, clerk_membership_id,
        membership_created_at, membership_updated_at, membership_event_at, role
    from memberships
    where is_missing
    on conflict (clerk_user_id, clerk_org_id) do nothing
    returning true
)

select
    (select count(*) from organizations) as organizations,
    (select count(*) from changed) + (select count(*) from made) as profiles;
