-- What `clerksync dev` prints of the story that it has played.

-- name: read_organization
-- $1 = clerk_org_id
select clerk_org_id, name, slug, is_placeholder, clerk_updated_at
from public.organization
where clerk_org_id = $1;

-- name: read_user_profile
-- $1 = clerk_org_id
select clerk_user_id, clerk_org_id, role, clerk_membership_id, evidence_at
from public.user_profile
where clerk_org_id = $1
order by clerk_user_id;

-- name: read_membership_tombstone
-- $1 = clerk_org_id
select clerk_user_id, clerk_org_id, through_membership_id, removed_at
from clerksync.membership_tombstone
where clerk_org_id = $1;
