-- Ensure: makes what is missing, and nothing else.

-- name: read_user_profile
-- $1 = clerk_user_id, $2 = clerk_org_id
select id::text as id, clerk_user_id, clerk_org_id, role, clerk_membership_id, created_at, updated_at
from public.user_profile
where clerk_user_id = $1 and clerk_org_id = $2;

-- name: insert_provisional_profile
-- Inserts the profile, and its organization if that is missing too, if nothing speaks against it; tells what does.
-- A token issued in the very moment of a removal is refused. Evidence is never from the future, by the earlier of two
-- clocks: one that has jumped ahead must not outlive removals to come. `id` is null if nothing was inserted.
-- $1 = clerk_user_id, $2 = clerk_org_id, $3 = evidence_at, $4 = the oldest evidence that counts
with known as (
    select
        least($3::timestamptz, now()) as evidence_at,
        exists (select from clerksync.deleted_entity where kind = 'user' and clerk_id = $1) as user_deleted,
        exists (
            select from clerksync.deleted_entity where kind = 'organization' and clerk_id = $2
        ) as organization_deleted,
        (
            select removed_at from clerksync.membership_tombstone where clerk_user_id = $1 and clerk_org_id = $2
        ) as removed_at
),

allowed as (
    select evidence_at from known
    where not user_deleted
        and not organization_deleted
        and (removed_at is null or removed_at < evidence_at)
        and $4 <= evidence_at
),

placeholder as (
    insert into public.organization (clerk_org_id, name, is_placeholder)
    select $2, $2, true from allowed
    on conflict (clerk_org_id) do nothing
),

profile as (
    insert into public.user_profile (clerk_user_id, clerk_org_id, evidence_at)
    select $1, $2, evidence_at from allowed
    on conflict (clerk_user_id, clerk_org_id) do nothing
    returning id::text as id, clerk_user_id, clerk_org_id, role, clerk_membership_id, created_at, updated_at
)

select
    profile.id,
    profile.clerk_user_id,
    profile.clerk_org_id,
    profile.role,
    profile.clerk_membership_id,
    profile.created_at,
    profile.updated_at,
    known.user_deleted,
    known.organization_deleted,
    known.removed_at,
    known.evidence_at
from known
left join profile on true;

-- name: read_organization
-- $1 = clerk_org_id
select id::text as id, clerk_org_id, name, slug, image_url, is_placeholder, created_at, updated_at
from public.organization
where clerk_org_id = $1;
