-- Who may do what: readers see the organization in their claims and no other, only the service writes.

-- Roles belong to the whole cluster: they may be there already, or be made by another database's migration just now.
do $create_roles$
declare
    role_name text;
begin
    foreach role_name in array array['clerksync_service', 'clerksync_reader'] loop
        continue when exists (select from pg_roles where rolname = role_name);
        begin
            execute format('create role %I nologin', role_name);
        exception
            when duplicate_object or unique_violation then
                null;
            when insufficient_privilege then
                raise exception using
                    errcode = 'CS001',
                    message = format('the role %I may not create the roles that clerksync needs', current_user),
                    hint = format(
                        'Let an administrator run this, then run the migration again: '
                        'create role clerksync_service nologin admin %1$I; '
                        'create role clerksync_reader nologin admin %1$I;',
                        current_user
                    );
        end;
    end loop;
end
$create_roles$;

-- The organization in the caller's claims, as Supabase hands them over: `org_id` in the first version of Clerk's
-- session tokens, `o.id` in the second. Null without claims.
create function clerksync.claimed_org_id()
returns text
language sql
stable
parallel safe
set search_path = ''
as $$
    select coalesce(nullif(claims ->> 'org_id', ''), nullif(claims -> 'o' ->> 'id', ''))
    from (select nullif(current_setting('request.jwt.claims', true), '')::jsonb) as request (claims)
$$;

-- Tells about what an earlier set-up allowed, and what becomes of it.
do $warn$
declare
    earlier record;
begin
    for earlier in
        select p.polrelid::regclass as relation, string_agg(quote_ident(p.polname), ', ' order by p.polname) as names
        from pg_policy as p
        where p.polrelid in ('public.organization'::regclass, 'public.user_profile'::regclass)
            and p.polname not like 'clerksync\_%'
        group by p.polrelid
    loop
        raise warning '% keeps its earlier policies %: they no longer widen what readers see',
            earlier.relation, earlier.names;
    end loop;

    for earlier in
        select t.oid::regclass as relation, string_agg(distinct quote_ident(g.rolname), ', ') as names
        from pg_class as t
        cross join aclexplode(t.relacl) as privilege
        join pg_roles as g on g.oid = privilege.grantee
        where t.oid in ('public.organization'::regclass, 'public.user_profile'::regclass)
            and not t.relrowsecurity and privilege.grantee <> t.relowner
            and not g.rolsuper and not g.rolbypassrls
            and g.rolname not in ('clerksync_service', 'clerksync_reader', 'anon', 'authenticated')
        group by t.oid
    loop
        raise warning '% now has row-level security: these roles see no rows until you grant them clerksync_reader, '
            'or make policies for them: %', earlier.relation, earlier.names;
    end loop;
end
$warn$;

alter table public.organization enable row level security;
alter table public.user_profile enable row level security;

-- `anon` and `authenticated` are Supabase's; elsewhere they are missing.
do $grant_and_restrict$
declare
    readers text := (
        select string_agg(quote_ident(rolname), ', ') from pg_roles
        where rolname in ('clerksync_reader', 'authenticated')
    );
    outsiders text := (
        select concat_ws(', ', 'public', max(quote_ident(rolname))) from pg_roles where rolname = 'anon'
    );
    restricted text := (
        select string_agg(quote_ident(rolname), ', ') from pg_roles
        where rolname in ('clerksync_reader', 'authenticated', 'anon')
    );
    own constant text := 'clerk_org_id = (select clerksync.claimed_org_id())';
    table_name text;
begin
    foreach table_name in array array['organization', 'user_profile'] loop
        execute format('drop policy if exists clerksync_read on public.%I', table_name);
        execute format('drop policy if exists clerksync_read_no_other on public.%I', table_name);
        execute format('drop policy if exists clerksync_write on public.%I', table_name);
        -- The sub-select is run once for a query, not once for a row.
        execute format(
            'create policy clerksync_read on public.%I for select to %s using (%s)', table_name, readers, own
        );
        -- Whatever other policies allow, readers see no other organization.
        execute format(
            'create policy clerksync_read_no_other on public.%I as restrictive for select to %s using (%s)',
            table_name, restricted, own
        );
        execute format(
            'create policy clerksync_write on public.%I for all to clerksync_service using (true) with check (true)',
            table_name
        );

        execute format('revoke all on public.%I from %s cascade', table_name, readers);
        execute format(
            'revoke insert, update, delete, truncate, references, trigger on public.%I from %s cascade',
            table_name, outsiders
        );
        if current_setting('server_version_num')::integer >= 170000 then
            execute format('revoke maintain on public.%I from %s cascade', table_name, outsiders);
        end if;
        execute format('grant select on public.%I to %s', table_name, readers);
        execute format('grant select, insert, update, delete on public.%I to clerksync_service', table_name);
    end loop;

    execute format('grant execute on function clerksync.claimed_org_id() to %s', restricted);
    if not has_schema_privilege('clerksync_reader', 'public', 'usage') then
        execute format('grant usage on schema public to %s', readers);
    end if;
    if not has_schema_privilege('clerksync_service', 'public', 'usage') then
        grant usage on schema public to clerksync_service;
    end if;
end
$grant_and_restrict$;

-- Ids of an earlier set-up may come from a sequence.
do $grant_sequences$
declare
    statement text;
begin
    foreach statement in array array(
        select distinct format('grant usage on sequence %s to clerksync_service', s.oid::regclass)
        from pg_attrdef as a
        join pg_depend as d
            on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and d.refclassid = 'pg_class'::regclass
        join pg_class as s on s.oid = d.refobjid and s.relkind = 'S'
        where a.adrelid in ('public.organization'::regclass, 'public.user_profile'::regclass)
    ) loop
        execute statement;
    end loop;
end
$grant_sequences$;

revoke all on schema clerksync from public;
grant usage on schema clerksync to clerksync_service;
grant select, insert, update, delete
on clerksync.membership_tombstone, clerksync.deleted_entity, clerksync.webhook_delivery
to clerksync_service;
grant select on clerksync.schema_version to clerksync_service;
