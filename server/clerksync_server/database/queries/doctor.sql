-- The validation queries. Each counts rows that should not be there, or that somebody should look at; docs/operations.md
-- says what to do about each.

-- name: duplicate_profiles
-- Pairs (user, organization) with more than one profile.
select count(*) from (
    select from public.user_profile
    where clerk_user_id is not null and clerk_org_id is not null
    group by clerk_user_id, clerk_org_id
    having count(*) > 1
) as pairs;

-- name: duplicate_organizations
-- Organizations with more than one row.
select count(*) from (
    select from public.organization
    where clerk_org_id is not null
    group by clerk_org_id
    having count(*) > 1
) as organizations;

-- name: orphaned_profiles
-- Profiles whose organization has no row.
select count(*)
from public.user_profile as p
left join public.organization as o on o.clerk_org_id = p.clerk_org_id
where p.clerk_org_id is not null and o.clerk_org_id is null;

-- name: profiles_without_ids
-- Profiles of an adopted table that name no user or no organization.
select count(*) from public.user_profile where clerk_user_id is null or clerk_org_id is null;

-- name: profiles_of_deleted
-- Profiles of users or organizations that Clerk has deleted.
select count(*)
from public.user_profile as p
where exists (
    select from clerksync.deleted_entity as d
    where (d.kind = 'user' and d.clerk_id = p.clerk_user_id)
        or (d.kind = 'organization' and d.clerk_id = p.clerk_org_id)
);

-- name: organizations_of_deleted
-- Organizations that Clerk has deleted and that still have a row.
select count(*)
from public.organization as o
inner join clerksync.deleted_entity as d on d.kind = 'organization' and d.clerk_id = o.clerk_org_id;

-- name: profiles_of_removed
-- Profiles that a known removal should have ended.
select count(*)
from public.user_profile as p
inner join clerksync.membership_tombstone as t
    on t.clerk_user_id = p.clerk_user_id and t.clerk_org_id = p.clerk_org_id
where case
    when p.clerk_membership_id is null then coalesce(p.evidence_at, '-infinity') <= t.removed_at
    else (p.membership_created_at, p.clerk_membership_id collate "C")
        <= (t.through_created_at, t.through_membership_id collate "C")
end;

-- name: quarantined_deliveries
-- Deliveries that were signed but not understood.
select count(*) from clerksync.webhook_delivery where outcome = 'quarantined';

-- name: old_provisional_profiles
-- Profiles made by Ensure more than a day ago that no membership event has confirmed.
select count(*)
from public.user_profile
where clerk_membership_id is null and created_at < now() - interval '1 day';

-- name: old_placeholder_organizations
-- Organizations made more than a day ago whose name no event has told.
select count(*)
from public.organization
where is_placeholder and created_at < now() - interval '1 day';

-- name: tables_without_row_security
-- Tables of ours that readers see without row-level security.
select count(*)
from pg_class
where oid in ('public.organization'::regclass, 'public.user_profile'::regclass) and not relrowsecurity;
