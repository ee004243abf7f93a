-- Makes the logins of a database, each with the rights it needs and no others: the owner of the tables, who migrates; the
-- service; a reader. Not a migration: run it with psql as an administrator, before or after `clerksync migrate`.
--
--     psql "$ADMIN_URL" -v owner=clerksync_owner -v service=clerksync_login -v reader=shop -f roles.sql
--
-- It reads policies.sql, which has to lie beside it, and so puts back what is missing.
-- Roles that exist keep their passwords and their data; new ones have no password until you give them one (\password).
-- It fails, and changes nothing, where a login could still become somebody else or do more than it needs to, and says
-- what to take from whom.
-- It may be run again, and has to be for another reader. Later migrations grant by themselves what their tables need.

\set ON_ERROR_STOP on
\set QUIET on

begin;
set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;

\if :{?owner}
\else
    \set owner ''
\endif
\if :{?service}
\else
    \set service ''
\endif
-- Without a reader none is made.
\if :{?reader}
\else
    \set reader ''
\endif
select
    set_config('clerksync.owner', :'owner', true) as owner,
    set_config('clerksync.service', :'service', true) as service,
    set_config('clerksync.reader', :'reader', true) as reader
\gset made_

do $make_roles$
declare
    owner constant text := current_setting('clerksync.owner');
    service constant text := current_setting('clerksync.service');
    reader constant text := nullif(current_setting('clerksync.reader'), '');
    role_name text;
    membership record;
begin
    if '' in (owner, service) then
        raise exception 'name the login that owns the tables, and that of SyncService: -v owner=NAME -v service=NAME';
    end if;
    if service = owner or reader in (owner, service) then
        raise exception 'owner, service and reader have to be three roles: who owns a table may do everything to it';
    end if;
    if array['clerksync_service', 'clerksync_reader'] && array[owner, service, reader] then
        raise exception 'clerksync_service and clerksync_reader are what logins are members of: name others';
    end if;
    -- What the migrations grant rights to. They make these two themselves if they may.
    foreach role_name in array array['clerksync_service', 'clerksync_reader'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I nologin', role_name);
        end if;
    end loop;
    foreach role_name in array array_remove(array[owner, service, reader], null) loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I', role_name);
        end if;
        execute format('alter role %I login inherit', role_name);
    end loop;

    -- Nothing that goes beyond this database, and no way to become somebody else.
    foreach role_name in array array_remove(array[service, reader, 'clerksync_service', 'clerksync_reader'], null) loop
        if (select rolcreatedb or rolcreaterole from pg_roles where rolname = role_name) then
            execute format('alter role %I nocreatedb nocreaterole', role_name);
        end if;
        if (select rolsuper or rolbypassrls or rolreplication from pg_roles where rolname = role_name) then
            execute format('alter role %I nosuperuser nobypassrls noreplication', role_name);
        end if;
        if role_name in ('clerksync_service', 'clerksync_reader')
            and (select rolcanlogin from pg_roles where rolname = role_name)
        then
            execute format('alter role %I nologin', role_name);
        end if;
    end loop;
    foreach role_name in array array_remove(array[service, reader], null) loop
        for membership in
            select r.rolname as role, g.rolname as grantor, m.admin_option, case role_name
                when service then r.rolname <> 'clerksync_service'
                -- A reader is an application's login perhaps, which needs others too.
                else r.rolname in (owner, service, 'clerksync_service')
            end as is_surplus
            from pg_auth_members as m
            join pg_roles as r on r.oid = m.roleid
            left join pg_roles as g on g.oid = m.grantor
            where m.member = (select oid from pg_roles where rolname = role_name)
        loop
            continue when not membership.is_surplus
                and not (membership.admin_option and membership.role in ('clerksync_service', 'clerksync_reader'));
            execute format(
                'revoke %s%I from %I%s cascade',
                case when not membership.is_surplus then 'admin option for ' end, membership.role, role_name,
                -- From Postgres 16 on each grantor's grant is one of its own.
                case when current_setting('server_version_num')::integer >= 160000
                    then format(' granted by %I', membership.grantor) end
            );
        end loop;
    end loop;
    execute format('grant clerksync_service to %I', service);
    if reader is not null then
        execute format('grant clerksync_reader to %I', reader);
    end if;

    -- The owner makes the schema `clerksync`, and the two tables in `public`.
    execute format('grant connect, create on database %I to %I', current_database(), owner);
    execute format('grant usage, create on schema public to %I', owner);
    foreach role_name in array array_remove(array[service, reader], null) loop
        execute format('grant connect on database %I to %I', current_database(), role_name);
    end loop;
end
$make_roles$;

-- What a script cannot put right without taking something from others.
do $tell$
declare
    owner constant text := current_setting('clerksync.owner');
    service constant text := current_setting('clerksync.service');
    reader constant text := nullif(current_setting('clerksync.reader'), '');
    problems text;
begin
    with owners (role_id, what) as (
        select t.relowner, t.oid::regclass::text
        from pg_class as t
        where t.relkind in ('r', 'p') and (
            t.oid in (to_regclass('public.organization'), to_regclass('public.user_profile'))
            or t.relnamespace = (select oid from pg_namespace where nspname = 'clerksync')
        )
        union all
        select f.proowner, 'the function ' || f.oid::regprocedure
        from pg_proc as f
        where f.pronamespace = (select oid from pg_namespace where nspname = 'clerksync')
        union all
        select n.nspowner, 'the schema ' || n.nspname from pg_namespace as n where n.nspname in ('public', 'clerksync')
        union all
        select d.datdba, format('the database %I', d.datname) from pg_database as d where d.datname = current_database()
    ),

    limited as (
        select
            r.oid, r.rolname, r.rolname in (service, 'clerksync_service') as is_service
        from pg_roles as r
        where r.rolname in (service, reader, 'clerksync_service', 'clerksync_reader')
    ),

    -- Whom they must not become.
    closed as (
        select l.oid as limited_id, r.oid, r.rolname
        from limited as l
        cross join pg_roles as r
        where case
            when l.is_service then r.rolname not in (service, 'clerksync_service')
            else r.rolname in (
                owner, service, 'clerksync_service', 'pg_read_all_data', 'pg_write_all_data',
                'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program'
            )
            or r.rolsuper or r.rolbypassrls or r.rolreplication or r.rolcreaterole
            or r.oid <> l.oid and r.oid in (select o.role_id from owners as o)
        end
    )

    select string_agg(problem, '; ' order by problem) into problems
    from (
        -- The first step that leads to each, whether directly or by way of other roles.
        select format(
            '%s can become %s: revoke %I from %I',
            string_agg(distinct l.rolname::text, ', '), c.rolname, c.rolname, member.rolname
        ) as problem
        from limited as l
        join closed as c on c.limited_id = l.oid
        join pg_auth_members as m on m.roleid = c.oid and pg_has_role(l.oid, m.member, 'member')
        join pg_roles as member on member.oid = m.member
        where not exists (select from closed as other where other.limited_id = l.oid and other.oid = m.member)
        group by c.rolname, member.rolname
        union all
        select format('%s owns %s: name that role as the owner, and others as service and reader',
            l.rolname, string_agg(o.what, ', '))
        from limited as l
        join owners as o on o.role_id = l.oid
        group by l.rolname
    ) as found;
    if problems is not null then
        raise exception '%', problems using
            hint = 'Nothing was changed. Take away what is named, and run this again.';
    end if;
    if has_schema_privilege(service, 'public', 'create') then
        raise warning 'everybody may create in the schema public, as in databases from before Postgres 15: '
            'revoke create on schema public from public, and grant it to those who need it';
    end if;
end
$tell$;

-- Rights to what is ours that the logins hold beyond what they need, by whatever grant. Those of the logins themselves, of
-- the two roles that the migrations keep, and of everybody, go; another role's are told.
do $take_back$
declare
    -- As the migrations grant it; `needed` in doctor.sql is the same.
    needed constant jsonb := '{
        "public.organization": ["select", "insert", "update", "delete"],
        "public.user_profile": ["select", "insert", "update", "delete"],
        "clerksync.membership_tombstone": ["select", "insert", "update", "delete"],
        "clerksync.deleted_entity": ["select", "insert", "update (deleted_at)"],
        "clerksync.webhook_delivery": ["select", "insert", "update", "delete"],
        "clerksync.removal": ["select", "insert", "delete"],
        "clerksync.removal_epoch": ["select", "insert"],
        "clerksync.schema_version": ["select"]
    }';
    service constant oid := (select oid from pg_roles where rolname = current_setting('clerksync.service'));
    reader constant oid := (select oid from pg_roles where rolname = current_setting('clerksync.reader'));
    services constant oid := (select oid from pg_roles where rolname = 'clerksync_service');
    readers constant oid := (select oid from pg_roles where rolname = 'clerksync_reader');
    surplus record;
    grants text;
    problems text[] := '{}';
begin
    for round in 1..2 loop
        for surplus in
            with ours as (
                select
                    t.oid, t.relkind, t.relowner, t.relacl, n.nspname = 'public' as is_read,
                    n.nspname || '.' || t.relname as name,
                    case t.relkind when 'S' then 'sequence ' else '' end || t.oid::regclass as object
                from pg_class as t
                join pg_namespace as n on n.oid = t.relnamespace
                where t.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
                    and (n.nspname = 'clerksync' or t.oid in (
                        to_regclass('public.organization'), to_regclass('public.user_profile')
                    ))
                union all
                select 0, 'n', n.nspowner, n.nspacl, n.nspname = 'public', n.nspname, 'schema ' || n.nspname
                from pg_namespace as n
                where n.nspname in ('public', 'clerksync')
                union all
                select 0, 'd', d.datdba, d.datacl, true, d.datname, format('database %I', d.datname)
                from pg_database as d
                where d.datname = current_database()
            ),

            entries as (
                select o.*, p.grantor, p.grantee, p.is_grantable, lower(p.privilege_type) as privilege
                from ours as o
                cross join aclexplode(o.relacl) as p
                union all
                select
                    o.*, p.grantor, p.grantee, p.is_grantable, lower(p.privilege_type) || format(' (%I)', a.attname)
                from ours as o
                join pg_attribute as a on a.attrelid = o.oid
                cross join aclexplode(a.attacl) as p
            ),

            judged as (
                select
                    e.*,
                    case when e.relkind in ('n', 'd') then case
                        -- Of the schema `public` and of the database other rights are an application's; everybody's are
                        -- only told.
                        when e.is_read then e.privilege = 'create'
                            and e.grantee in (service, reader, services, readers)
                        when e.privilege = 'create' and e.grantee <> 0 and pg_has_role(reader, e.grantee, 'member')
                            then true
                        else e.grantee in (0, service, reader, services, readers)
                            and not (e.grantee = services and e.privilege = 'usage')
                    end
                    else e.grantee in (0, service, services) and not (
                        e.grantee = services and e.relkind <> 'S' and case
                            when needed ? e.name then (needed -> e.name) ? e.privilege
                            -- A later version's.
                            else e.privilege in ('select', 'insert', 'update', 'delete')
                        end
                        or e.grantee = 0 and e.is_read and e.privilege = 'select'
                    )
                    -- A reader may keep a right of its own to update in `public` too: policies hold it.
                    or (e.grantee in (0, readers) or pg_has_role(reader, e.grantee, 'member'))
                    and not (e.is_read and (
                        split_part(e.privilege, ' ', 1) = 'select'
                        or split_part(e.privilege, ' ', 1) = 'update' and e.grantee not in (0, readers)
                    )) end as is_surplus,
                    e.grantee in (0, service, reader, services, readers) as is_theirs
                from entries as e
                where e.grantee <> e.relowner
            )

            select
                j.is_surplus, j.is_theirs,
                format(
                    'revoke %s%s on %s from %s',
                    case when not j.is_surplus then 'grant option for ' end, j.privilege, j.object,
                    case j.grantee when 0 then 'public' else j.grantee::regrole::text end
                ) as remedy,
                case when j.grantor <> j.relowner then format(', as %s', j.grantor::regrole) end as grantor
            from judged as j
            where j.is_surplus or j.is_theirs and j.is_grantable
        loop
            if surplus.is_theirs and round = 1 then
                execute surplus.remedy || ' cascade';
            elsif round = 2 then
                problems := problems || concat(surplus.remedy, surplus.grantor);
            end if;
        end loop;

        -- To revoke a right to a table revokes it of each column too.
        continue when round = 2 or not exists (select from pg_namespace where nspname = 'clerksync');
        for grants in
            select format('grant %s on %s to clerksync_service', privilege, t.oid::regclass)
            from pg_class as t
            join pg_namespace as n on n.oid = t.relnamespace
            cross join jsonb_array_elements_text(needed -> (n.nspname || '.' || t.relname)) as privilege
            where t.relkind in ('r', 'p') and case
                when privilege like '% (%)' then not has_column_privilege(
                    services, t.oid, substring(privilege from '\((.*)\)'), split_part(privilege, ' ', 1)
                )
                else not has_table_privilege(services, t.oid, privilege)
            end
        loop
            execute grants;
        end loop;
    end loop;

    if problems <> '{}' then
        raise exception 'the logins may do more than they need to: %', array_to_string(problems, '; ');
    end if;
end
$take_back$;
\ir policies.sql
commit;

\echo 'roles: owner' :owner '- service' :service '- reader' :reader
