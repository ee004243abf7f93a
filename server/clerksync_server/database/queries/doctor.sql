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

-- name: reader_policies_missing
-- Of the two policies of each table, those that readers lack.
select count(*)
from pg_class as t
cross join (values ('clerksync_read', true), ('clerksync_read_no_other', false)) as needed (name, is_permissive)
where t.oid in ('public.organization'::regclass, 'public.user_profile'::regclass) and not exists (
    select from pg_policy as p
    where p.polrelid = t.oid and p.polname = needed.name and p.polpermissive = needed.is_permissive
        and p.polcmd = 'r' and to_regrole('clerksync_reader') = any(p.polroles)
);

-- name: rights_of_everybody
-- Rights to what is ours that everybody has, or all readers, beyond selecting from the two tables that readers see.
select count(*)
from (
    select n.nspname = 'public' as is_read, t.relowner as owner_id, t.relacl as acl
    from pg_class as t
    inner join pg_namespace as n on n.oid = t.relnamespace
    where t.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and (n.nspname = 'clerksync' or t.oid in (
        'public.organization'::regclass, 'public.user_profile'::regclass
    ))
    union all
    select n.nspname = 'public', t.relowner, a.attacl
    from pg_class as t
    inner join pg_namespace as n on n.oid = t.relnamespace
    inner join pg_attribute as a on a.attrelid = t.oid
    where n.nspname = 'clerksync' or t.oid in ('public.organization'::regclass, 'public.user_profile'::regclass)
    union all
    select false, n.nspowner, n.nspacl from pg_namespace as n where n.nspname = 'clerksync'
) as ours
cross join aclexplode(ours.acl) as privilege
where privilege.grantee in (0, to_regrole('clerksync_reader')) and privilege.grantee <> ours.owner_id
    and not (ours.is_read and privilege.privilege_type = 'SELECT');

-- name: privileges
-- Of the role of this connection: `missing`, what it lacks of what SyncService needs, in words, null if nothing;
-- `needless`, what it may beyond that, in the same way; `is_trial`, whether it is a superuser or the owner itself, as
-- while things are tried out; `is_common`, whether all that is needless is what everybody may.
with needed (name, privileges) as (
    values
    ('public.organization', array['select', 'insert', 'update', 'delete']),
    ('public.user_profile', array['select', 'insert', 'update', 'delete']),
    ('clerksync.membership_tombstone', array['select', 'insert', 'update', 'delete']),
    ('clerksync.deleted_entity', array['select', 'insert', 'update (deleted_at)']),
    ('clerksync.webhook_delivery', array['select', 'insert', 'update', 'delete']),
    ('clerksync.removal', array['select', 'insert', 'delete']),
    ('clerksync.removal_epoch', array['select', 'insert']),
    ('clerksync.schema_version', array['select'])
),

me as (
    select * from pg_roles where rolname = current_user
),

-- Those of a later version are not in `needed`.
tables as (
    select t.oid, t.relowner, n.nspname || '.' || t.relname as name, needed.privileges
    from pg_class as t
    inner join pg_namespace as n on n.oid = t.relnamespace
    left join needed on needed.name = n.nspname || '.' || t.relname
    where t.relkind in ('r', 'p')
        and (n.nspname = 'clerksync' or n.nspname = 'public' and t.relname in ('organization', 'user_profile'))
),

-- Those to a column only where they are not to the whole table.
held as (
    select tables.*, privilege
    from tables
    cross join unnest(
        array['select', 'insert', 'update', 'delete', 'truncate', 'references', 'trigger']
        || case when current_setting('server_version_num')::integer >= 170000 then array['maintain'] end
    ) as privilege
    where has_table_privilege(tables.oid, privilege)
    union all
    select tables.*, format('%s (%I)', privilege, a.attname)
    from tables
    inner join pg_attribute as a on a.attrelid = tables.oid and not a.attisdropped
    cross join unnest(array['select', 'insert', 'update', 'references']) as privilege
    where not has_table_privilege(tables.oid, privilege) and has_column_privilege(tables.oid, a.attnum, privilege)
),

owned (role_id, what) as (
    select relowner, name from tables
    union all
    select f.proowner, 'the function ' || f.oid::regprocedure
    from pg_proc as f
    inner join pg_namespace as n on n.oid = f.pronamespace and n.nspname = 'clerksync'
    union all
    select n.nspowner, 'the schema ' || n.nspname from pg_namespace as n where n.nspname in ('public', 'clerksync')
    union all
    select d.datdba, 'the database' from pg_database as d where d.datname = current_database()
),

missing (problem) as (
    select 'usage on schema ' || n.nspname
    from pg_namespace as n
    where n.nspname in ('public', 'clerksync') and not has_schema_privilege(n.oid, 'usage')
    union all
    select privilege || ' on ' || tables.name
    from tables
    cross join unnest(tables.privileges) as privilege
    where not exists (
        select from held
        where held.oid = tables.oid and held.privilege in (privilege, split_part(privilege, ' ', 1))
    )
    union all
    select distinct 'usage on the sequence ' || s.oid::regclass
    from pg_attrdef as a
    inner join pg_depend as d
        on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and d.refclassid = 'pg_class'::regclass
    inner join pg_class as s on s.oid = d.refobjid
    where a.adrelid in (select oid from tables)
        and case s.relkind when 'S' then not has_sequence_privilege(s.oid, 'usage') end
    union all
    select 'a policy for all rows of ' || tables.name
    from tables
    where row_security_active(tables.oid) and not exists (
        select from pg_policy as p
        where p.polrelid = tables.oid and p.polpermissive and p.polcmd = '*'
            and pg_get_expr(p.polqual, p.polrelid) = 'true'
            and exists (
                select from unnest(p.polroles) as role_id
                where case role_id when 0 then true else pg_has_role(role_id, 'usage') end
            )
    )
),

needless (problem, is_common) as (
    select 'bypasses row-level security', false from me where rolbypassrls
    union all
    select 'may create roles', false from me where rolcreaterole
    union all
    select 'may create databases', false from me where rolcreatedb
    union all
    select 'may replicate', false from me where rolreplication
    union all
    select 'may become ' || r.rolname, false
    from pg_roles as r
    where pg_has_role(r.oid, 'member') and r.rolname not in (current_user, 'clerksync_service')
    union all
    select 'owns ' || what, false from owned where pg_has_role(role_id, 'member')
    union all
    select
        'may create in the schema ' || n.nspname,
        exists (select from aclexplode(n.nspacl) where grantee = 0 and privilege_type = 'CREATE')
    from pg_namespace as n
    where n.nspname in ('public', 'clerksync') and has_schema_privilege(n.oid, 'create')
    union all
    select
        'may make schemas in the database',
        exists (select from aclexplode(d.datacl) where grantee = 0 and privilege_type = 'CREATE')
    from pg_database as d
    where d.datname = current_database() and has_database_privilege(d.oid, 'create')
    union all
    select 'has ' || privilege || ' on ' || name, false
    from held
    where not pg_has_role(relowner, 'member') and not privilege = any(
        coalesce(privileges, array['select', 'insert', 'update', 'delete'])
    )
)

select
    (select string_agg(problem, ', ' order by problem) from missing) as missing,
    case when me.rolsuper then 'is a superuser'
        else (select string_agg(problem, ', ' order by problem) from needless) end as needless,
    me.rolsuper or exists (select from tables where relowner = me.oid) as is_trial,
    (select coalesce(bool_and(is_common), true) from needless) as is_common
from me;
