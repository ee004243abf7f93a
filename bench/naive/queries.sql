-- name: read_profile
select id::text as id, clerk_user_id, clerk_org_id, role, clerk_membership_id, created_at, updated_at
from public.user_profile
where clerk_user_id = $1 and clerk_org_id = $2;

-- name: insert_placeholder
insert into public.organization (clerk_org_id, name, is_placeholder)
values ($1, $1, true)
on conflict (clerk_org_id) do nothing;

-- name: insert_profile
insert into public.user_profile (clerk_user_id, clerk_org_id, evidence_at)
values ($1, $2, $3)
on conflict (clerk_user_id, clerk_org_id) do nothing
returning id::text as id, clerk_user_id, clerk_org_id, role, clerk_membership_id, created_at, updated_at;

-- name: insert_delivery
insert into clerksync.webhook_delivery (
    svix_id, event_type, event_at, attempted_at, received_at, outcome, clerk_user_id, clerk_org_id, body_sha256
)
values ($1, $2, $3, $4, now(), 'applied', $5, $6, $7)
on conflict (svix_id) do nothing
returning true;

-- name: upsert_organization
insert into public.organization as o (
    clerk_org_id, name, slug, image_url, clerk_created_at, clerk_updated_at, clerk_event_at
)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (clerk_org_id) do update set
    name = excluded.name,
    slug = excluded.slug,
    image_url = excluded.image_url,
    is_placeholder = false,
    clerk_created_at = excluded.clerk_created_at,
    clerk_updated_at = excluded.clerk_updated_at,
    clerk_event_at = excluded.clerk_event_at,
    updated_at = now()
where o.clerk_updated_at is null or o.clerk_updated_at < excluded.clerk_updated_at;

-- name: upsert_membership
insert into public.user_profile as p (
    clerk_user_id, clerk_org_id, clerk_membership_id,
    membership_created_at, membership_updated_at, membership_event_at, role
)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (clerk_user_id, clerk_org_id) do update set
    clerk_membership_id = excluded.clerk_membership_id,
    membership_created_at = excluded.membership_created_at,
    membership_updated_at = excluded.membership_updated_at,
    membership_event_at = excluded.membership_event_at,
    role = excluded.role,
    evidence_at = null,
    updated_at = now()
where p.membership_updated_at is null or p.membership_updated_at < excluded.membership_updated_at;

-- name: delete_membership
delete from public.user_profile
where clerk_user_id = $1 and clerk_org_id = $2 and (membership_created_at is null or membership_created_at <= $3);
