-- What operators ask about a pair.

-- name: read_pair
-- All that is known of a user in an organization, in one row.
-- $1 = clerk_user_id, $2 = clerk_org_id
select
    p.membership_created_at,
    p.membership_updated_at,
    p.membership_event_at,
    p.evidence_at,
    t.through_created_at,
    t.through_membership_id,
    t.removed_at,
    u.deleted_at as user_deleted_at,
    o.deleted_at as organization_deleted_at
from (values ($1::text, $2::text)) as pair (clerk_user_id, clerk_org_id)
left join public.user_profile as p
    on p.clerk_user_id = pair.clerk_user_id and p.clerk_org_id = pair.clerk_org_id
left join clerksync.membership_tombstone as t
    on t.clerk_user_id = pair.clerk_user_id and t.clerk_org_id = pair.clerk_org_id
left join clerksync.deleted_entity as u on u.kind = 'user' and u.clerk_id = pair.clerk_user_id
left join clerksync.deleted_entity as o on o.kind = 'organization' and o.clerk_id = pair.clerk_org_id;
