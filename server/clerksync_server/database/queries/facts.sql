-- Facts, joined into the tables. The guards are the rules of clerksync_server/rules once more; one suite holds both
-- against each other. Every statement runs after `lock_keys` has locked what it reads and writes.

-- name: lock_keys
-- Serialises everything about the same keys until the transaction ends: no row may exist yet that could be locked.
-- In the order given, which must be the same in every transaction. Transaction locks work through a pooler.
-- $1 = names, $2 = exclusive or shared, for each name
select case when keys.exclusive then pg_advisory_xact_lock(keys.key) else pg_advisory_xact_lock_shared(keys.key) end
from (
    select hashtextextended(locks.name, 0) as key, locks.exclusive
    from unnest($1::text [], $2::boolean []) with ordinality as locks (name, exclusive, position)
    order by locks.position
) as keys;

-- name: try_lock_keys
-- As lock_keys, but waits for nobody: returns the names of those that others hold.
-- $1 = names, $2 = exclusive or shared, for each name
select tried.name
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
where not tried.is_taken;

-- name: upsert_organization
-- Last writer wins by (updated_at, event_at); the content breaks a tie. Returns a row if anything changed.
-- $1 = clerk_org_id, $2 = name, $3 = slug, $4 = image_url, $5 = clerk_created_at, $6 = clerk_updated_at, $7 = clerk_event_at
insert into public.organization as o (
    clerk_org_id, name, slug, image_url, is_placeholder, clerk_created_at, clerk_updated_at, clerk_event_at
)
select $1, $2, $3, $4, false, $5, $6, $7
where not exists (select from clerksync.deleted_entity where kind = 'organization' and clerk_id = $1)
on conflict (clerk_org_id) do update set
    name = excluded.name,
    slug = excluded.slug,
    image_url = excluded.image_url,
    is_placeholder = false,
    clerk_created_at = excluded.clerk_created_at,
    clerk_updated_at = excluded.clerk_updated_at,
    clerk_event_at = excluded.clerk_event_at,
    updated_at = now()
where o.clerk_updated_at is null
    or (
        o.clerk_updated_at,
        o.clerk_event_at,
        o.name collate "C",
        coalesce(o.slug, '') collate "C",
        coalesce(o.image_url, '') collate "C",
        coalesce(o.clerk_created_at, '-infinity')
    ) < (
        excluded.clerk_updated_at,
        excluded.clerk_event_at,
        excluded.name collate "C",
        coalesce(excluded.slug, '') collate "C",
        coalesce(excluded.image_url, '') collate "C",
        coalesce(excluded.clerk_created_at, '-infinity')
    )
returning true;

-- name: insert_placeholder_organization
-- A placeholder is older than everything: it never replaces a row. Returns a row if it was inserted.
-- $1 = clerk_org_id
insert into public.organization (clerk_org_id, name, is_placeholder)
select $1, $1, true
where not exists (select from clerksync.deleted_entity where kind = 'organization' and clerk_id = $1)
on conflict (clerk_org_id) do nothing
returning true;

-- name: mark_deleted
-- Final. Returns true if it was not known before.
-- $1 = kind, $2 = clerk_id, $3 = deleted_at
insert into clerksync.deleted_entity as d (kind, clerk_id, deleted_at)
values ($1, $2, $3)
on conflict (kind, clerk_id) do update set deleted_at = greatest(d.deleted_at, excluded.deleted_at)
returning xmax = 0;

-- name: delete_organization
-- The foreign key takes the profiles along. Who follows removals is told if there was anything to delete.
-- $1 = clerk_org_id
with deleted as (
    delete from public.organization where clerk_org_id = $1 returning true
),

logged as (
    insert into clerksync.removal (clerk_org_id) select $1 where exists (select from deleted) returning true
)

select pg_notify('clerksync_removals', '') from logged;

-- name: delete_profiles_of_user
-- Who follows removals is told if there was anything to delete.
-- $1 = clerk_user_id
with deleted as (
    delete from public.user_profile where clerk_user_id = $1 returning true
),

logged as (
    insert into clerksync.removal (clerk_user_id) select $1 where exists (select from deleted) returning true
)

select pg_notify('clerksync_removals', '') from logged;

-- name: is_deleted
-- $1 = kind, $2 = clerk_id
select exists (select from clerksync.deleted_entity where kind = $1 and clerk_id = $2);

-- name: upsert_membership
-- The higher generation wins, inside it the higher version; the role breaks a tie. A generation that is buried, and
-- whatever concerns a deleted user or organization, is stale. Returns a row if anything changed.
-- $1 = clerk_user_id, $2 = clerk_org_id, $3 = clerk_membership_id, $4 = membership_created_at,
-- $5 = membership_updated_at, $6 = membership_event_at, $7 = role
insert into public.user_profile as p (
    clerk_user_id, clerk_org_id, clerk_membership_id,
    membership_created_at, membership_updated_at, membership_event_at, role
)
select $1, $2, $3, $4, $5, $6, $7
where not exists (select from clerksync.deleted_entity where kind = 'organization' and clerk_id = $2)
    and not exists (select from clerksync.deleted_entity where kind = 'user' and clerk_id = $1)
    and not exists (
        select from clerksync.membership_tombstone as t
        where t.clerk_user_id = $1 and t.clerk_org_id = $2
            and ($4::timestamptz, $3::text collate "C") <= (t.through_created_at, t.through_membership_id collate "C")
    )
on conflict (clerk_user_id, clerk_org_id) do update set
    clerk_membership_id = excluded.clerk_membership_id,
    membership_created_at = excluded.membership_created_at,
    membership_updated_at = excluded.membership_updated_at,
    membership_event_at = excluded.membership_event_at,
    role = excluded.role,
    evidence_at = null,
    updated_at = now()
where p.clerk_membership_id is null
    or (
        p.membership_created_at,
        p.clerk_membership_id collate "C",
        p.membership_updated_at,
        p.membership_event_at,
        coalesce(p.role, '') collate "C"
    ) < (
        excluded.membership_created_at,
        excluded.clerk_membership_id collate "C",
        excluded.membership_updated_at,
        excluded.membership_event_at,
        coalesce(excluded.role, '') collate "C"
    )
returning true;

-- name: bury_membership
-- Joins a removal into the tombstone of the pair. Returns a row if anything changed.
-- $1 = clerk_user_id, $2 = clerk_org_id, $3 = through_created_at, $4 = through_membership_id, $5 = removed_at
insert into clerksync.membership_tombstone as t (
    clerk_user_id, clerk_org_id, through_created_at, through_membership_id, removed_at
)
values ($1, $2, $3, $4, $5)
on conflict (clerk_user_id, clerk_org_id) do update set
    (through_created_at, through_membership_id) = (
        select through.created_at, through.membership_id
        from (
            values (t.through_created_at, t.through_membership_id),
            (excluded.through_created_at, excluded.through_membership_id)
        ) as through (created_at, membership_id)
        order by through.created_at desc, through.membership_id collate "C" desc
        limit 1
    ),
    removed_at = greatest(t.removed_at, excluded.removed_at),
    updated_at = now()
where (t.through_created_at, t.through_membership_id collate "C")
    < (excluded.through_created_at, excluded.through_membership_id collate "C")
    or t.removed_at < excluded.removed_at
returning true;

-- name: delete_dead_profile
-- A removal ends every generation up to its own, and provisional profiles whose evidence is not younger than it.
-- Who follows removals is told if there was one.
-- $1 = clerk_user_id, $2 = clerk_org_id, $3 = through_created_at, $4 = through_membership_id, $5 = removed_at
with deleted as (
    delete from public.user_profile as p
    where p.clerk_user_id = $1 and p.clerk_org_id = $2
        and case
            when p.clerk_membership_id is null then coalesce(p.evidence_at, '-infinity') <= $5
            else (p.membership_created_at, p.clerk_membership_id collate "C")
                <= ($3::timestamptz, $4::text collate "C")
        end
    returning p.clerk_user_id, p.clerk_org_id
),

logged as (
    insert into clerksync.removal (clerk_user_id, clerk_org_id)
    select clerk_user_id, clerk_org_id from deleted
    returning true
)

select pg_notify('clerksync_removals', '') from logged;

-- name: read_standing
-- How a pair stands, to tell which rule decided.
-- $1 = clerk_user_id, $2 = clerk_org_id, $3 and $4 = created_at and id of the membership in question
select
    exists (select from clerksync.deleted_entity where kind = 'user' and clerk_id = $1) as user_deleted,
    exists (select from clerksync.deleted_entity where kind = 'organization' and clerk_id = $2) as organization_deleted,
    exists (
        select from clerksync.membership_tombstone as t
        where t.clerk_user_id = $1 and t.clerk_org_id = $2
            and ($3::timestamptz, $4::text collate "C") <= (t.through_created_at, t.through_membership_id collate "C")
    ) as buried,
    exists (
        select from public.user_profile
        where clerk_user_id = $1 and clerk_org_id = $2 and clerk_membership_id is not null
    ) as living;
