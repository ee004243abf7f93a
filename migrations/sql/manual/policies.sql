-- Puts back what the service and readers need and have lost: row-level security of the two tables, the policies that go with
-- `drop owned by` a group (which each of its members may say), rights to schemas and to sequences. roles.sql runs it; the
-- owner of the tables may run it alone, after `clerksync migrate`:
--
--     psql "$OWNER_URL" --single-transaction -f policies.sql
--
-- It changes nothing where nothing is missing.

\set ON_ERROR_STOP on
\set QUIET on

do $restore$
declare
    own constant text := 'clerk_org_id = (select clerksync.claimed_org_id())';
    readers constant text := (
        select string_agg(quote_ident(rolname), ', ') from pg_catalog.pg_roles
        where rolname in ('clerksync_reader', 'authenticated')
    );
    restricted constant text := (
        select string_agg(quote_ident(rolname), ', ') from pg_catalog.pg_roles
        where rolname in ('clerksync_reader', 'authenticated', 'anon')
    );
    statement text;
begin
    set local search_path = pg_catalog, pg_temp;
    -- Not migrated yet.
    if not exists (
        select from pg_proc as f join pg_namespace as n on n.oid = f.pronamespace
        where n.nspname = 'clerksync' and f.proname = 'claimed_org_id'
    ) then
        return;
    end if;
    for statement in
        select 'alter table ' || t.oid::regclass || ' enable row level security'
        from pg_class as t
        where t.oid in ('public.organization'::regclass, 'public.user_profile'::regclass) and not t.relrowsecurity
        union all
        -- As migration 0004 made them.
        select format('drop policy if exists %1$I on %2$s; create policy %1$I on %2$s %3$s',
            p.name, t.oid::regclass, p.definition)
        from pg_class as t
        cross join (
            values
            ('clerksync_read', true, 'r', 'clerksync_reader', format('for select to %s using (%s)', readers, own)),
            (
                'clerksync_read_no_other', false, 'r', 'clerksync_reader',
                format('as restrictive for select to %s using (%s)', restricted, own)
            ),
            (
                'clerksync_write', true, '*', 'clerksync_service',
                'for all to clerksync_service using (true) with check (true)'
            )
        ) as p (name, is_permissive, command, member, definition)
        where t.oid in ('public.organization'::regclass, 'public.user_profile'::regclass) and not exists (
            select from pg_policy as there
            where there.polrelid = t.oid and there.polname = p.name and there.polpermissive = p.is_permissive
                and there.polcmd::text = p.command and to_regrole(p.member) = any(there.polroles)
        )
        union all
        select format('grant usage on schema %s to %s', needed.schema, needed.role)
        from (
            values ('public', 'clerksync_reader'), ('public', 'clerksync_service'), ('clerksync', 'clerksync_service')
        ) as needed (schema, role)
        where not has_schema_privilege(needed.role, needed.schema, 'usage')
        union all
        select format('grant select on %s to clerksync_reader', t.oid::regclass)
        from pg_class as t
        where t.oid in ('public.organization'::regclass, 'public.user_profile'::regclass)
            and not has_table_privilege('clerksync_reader', t.oid, 'select')
        union all
        select distinct format('grant usage on sequence %s to clerksync_service', s.oid::regclass)
        from pg_attrdef as a
        join pg_depend as d
            on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and d.refclassid = 'pg_class'::regclass
        join pg_class as s on s.oid = d.refobjid
        where a.adrelid in ('public.organization'::regclass, 'public.user_profile'::regclass)
            and case s.relkind when 'S' then not has_sequence_privilege('clerksync_service', s.oid, 'usage') end
    loop
        execute statement;
    end loop;
exception
    when insufficient_privilege then
        raise exception 'what readers or the service have lost cannot be put back: %', sqlerrm using
            errcode = 'insufficient_privilege',
            hint = 'Let the owner of the tables run policies.sql, which lies beside roles.sql; then run roles.sql again.';
end
$restore$;
