-- Ensure: makes what is missing, and nothing else.
-- Times are told as whole microseconds since the epoch, which cost a third of what datetimes do; an infinite one as the
-- first or the last that callers can be told.

-- name: read_user_profile
-- As read_user_profiles, which for one pair costs twice as much.
-- $1 = clerk_user_id, $2 = clerk_org_id
select
    1::bigint as number,
    id::text as id,
    role,
    clerk_membership_id,
    (extract(epoch from greatest('0001-01-01 00:00Z', least(created_at, '9999-12-31 23:59Z'))) * 1000000)::bigint
        as created_us,
    (extract(epoch from greatest('0001-01-01 00:00Z', least(updated_at, '9999-12-31 23:59Z'))) * 1000000)::bigint
        as updated_us
from public.user_profile
where clerk_user_id = $1 and clerk_org_id = $2;

-- name: read_user_profiles
-- Several at once, each with the number of its pair, from 1. A join would sooner or later be done by reading the whole
-- table (for 64 pairs of 10,000 profiles already: four times the cost); so it asks the index for one after the other.
-- $1 = clerk_user_ids, $2 = clerk_org_ids, one of each for each pair
select
    pair.number,
    profile.id::text as id,
    profile.role,
    profile.clerk_membership_id,
    (extract(epoch from greatest('0001-01-01 00:00Z', least(profile.created_at, '9999-12-31 23:59Z'))) * 1000000)::bigint
        as created_us,
    (extract(epoch from greatest('0001-01-01 00:00Z', least(profile.updated_at, '9999-12-31 23:59Z'))) * 1000000)::bigint
        as updated_us
from unnest($1::text [], $2::text []) with ordinality as pair (clerk_user_id, clerk_org_id, number)
cross join lateral (
    select p.id, p.role, p.clerk_membership_id, p.created_at, p.updated_at
    from public.user_profile as p
    where p.clerk_user_id = pair.clerk_user_id and p.clerk_org_id = pair.clerk_org_id
    limit 1
) as profile;

-- name: insert_provisional_profiles
-- Inserts each profile, and its organization if that is missing too, if nothing speaks against it; tells what does.
-- A token issued in the very moment of a removal is refused. Evidence is never from the future, by the earlier of two
-- clocks: one that has jumped ahead must not outlive removals to come. `id` is null where nothing was inserted.
-- Organizations are inserted in one order by all, because whoever inserts the same one waits for the other to commit.
-- $1 = clerk_user_ids, $2 = clerk_org_ids, $3 = evidence_ats, one of each for each pair; no pair twice
-- $4 = the oldest evidence that counts
with known as (
    select
        pair.clerk_user_id,
        pair.clerk_org_id,
        least(pair.evidence_at, now()) as evidence_at,
        exists (
            select from clerksync.deleted_entity where kind = 'user' and clerk_id = pair.clerk_user_id
        ) as user_deleted,
        exists (
            select from clerksync.deleted_entity where kind = 'organization' and clerk_id = pair.clerk_org_id
        ) as organization_deleted,
        (
            select t.removed_at from clerksync.membership_tombstone as t
            where t.clerk_user_id = pair.clerk_user_id and t.clerk_org_id = pair.clerk_org_id
        ) as removed_at
    from unnest($1::text [], $2::text [], $3::timestamptz []) as pair (clerk_user_id, clerk_org_id, evidence_at)
),

allowed as (
    select clerk_user_id, clerk_org_id, evidence_at from known
    where not user_deleted
        and not organization_deleted
        and (removed_at is null or removed_at < evidence_at)
        and $4 <= evidence_at
),

placeholder as (
    insert into public.organization (clerk_org_id, name, is_placeholder)
    select named.clerk_org_id, named.clerk_org_id, true
    from (select distinct clerk_org_id from allowed) as named
    order by named.clerk_org_id collate "C"
    on conflict (clerk_org_id) do nothing
),

profile as (
    insert into public.user_profile (clerk_user_id, clerk_org_id, evidence_at)
    select clerk_user_id, clerk_org_id, evidence_at from allowed
    on conflict (clerk_user_id, clerk_org_id) do nothing
    returning
        id::text as id,
        clerk_user_id,
        clerk_org_id,
        role,
        clerk_membership_id,
        (extract(epoch from created_at) * 1000000)::bigint as created_us,
        (extract(epoch from updated_at) * 1000000)::bigint as updated_us
)

select
    profile.id,
    known.clerk_user_id,
    known.clerk_org_id,
    profile.role,
    profile.clerk_membership_id,
    profile.created_us,
    profile.updated_us,
    known.user_deleted,
    known.organization_deleted,
    known.removed_at,
    known.evidence_at
from known
left join profile
    on profile.clerk_user_id = known.clerk_user_id and profile.clerk_org_id = known.clerk_org_id;

-- name: read_organizations
-- For one it costs no more than a statement for one would.
-- $1 = clerk_org_ids
select id::text as id, clerk_org_id, name, slug, image_url, is_placeholder, created_at, updated_at
from public.organization
where clerk_org_id = any($1::text []);
