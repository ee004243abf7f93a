-- Makes the logins of a database, each with the rights it needs and no others: the owner of the tables, who migrates; the
-- service; a reader. Not a migration: run it with psql as an administrator, before or after `clerksync migrate`.
--
--     psql "$ADMIN_URL" -v owner=clerksync_owner -v service=clerksync_login -v reader=shop -f roles.sql
--
-- Roles that exist keep their passwords and their data; new ones have no password until you give them one (\password).
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
    other name;
begin
    if '' in (owner, service) then
        raise exception 'name the login that owns the tables, and that of SyncService: -v owner=NAME -v service=NAME';
    end if;
    if service = owner or reader in (owner, service) then
        raise exception 'owner, service and reader have to be three roles: who owns a table may do everything to it';
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
    foreach role_name in array array_remove(array[service, reader], null) loop
        execute format('alter role %I nocreatedb nocreaterole', role_name);
        if (select rolsuper or rolbypassrls or rolreplication from pg_roles where rolname = role_name) then
            execute format('alter role %I nosuperuser nobypassrls noreplication', role_name);
        end if;
        for other in
            select r.rolname from pg_auth_members as m join pg_roles as r on r.oid = m.roleid
            where m.member = (select oid from pg_roles where rolname = role_name)
                -- A reader is an application's login perhaps, which needs others too.
                and case role_name
                    when service then r.rolname <> 'clerksync_service'
                    else r.rolname in (owner, service, 'clerksync_service')
                end
        loop
            execute format('revoke %I from %I', other, role_name);
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
        execute format('revoke create on database %I from %I', current_database(), role_name);
        execute format('revoke create on schema public from %I', role_name);
    end loop;
end
$make_roles$;

-- Rights that somebody gave the logins directly, beside those of the two roles that the migrations keep. A reader may
-- keep those to read and to update in `public`, which policies hold.
do $revoke_direct_rights$
declare
    statement text;
begin
    for statement in
        select distinct format(
            'revoke %s on %s from %I cascade',
            case
                when g.rolname = current_setting('clerksync.reader') and t.relnamespace = 'public'::regnamespace
                    then 'insert, delete, truncate, references, trigger'
                else 'all'
            end,
            t.oid::regclass,
            g.rolname
        )
        from pg_class as t
        cross join aclexplode(t.relacl) as privilege
        join pg_roles as g on g.oid = privilege.grantee
        where g.rolname in (current_setting('clerksync.service'), current_setting('clerksync.reader'))
            and privilege.grantee <> t.relowner
            and (
                t.oid in (select to_regclass(name) from (
                    values ('public.organization'), ('public.user_profile')
                ) as ours (name))
                or t.relnamespace = (select oid from pg_namespace where nspname = 'clerksync')
            )
    loop
        execute statement;
    end loop;
end
$revoke_direct_rights$;

-- What a script cannot put right without taking something from others.
do $tell$
declare
    service constant text := current_setting('clerksync.service');
    owned text;
begin
    select string_agg(t.oid::regclass::text, ', ') into owned
    from pg_class as t
    where t.relowner = (select oid from pg_roles where rolname = service) and t.relkind in ('r', 'p')
        and (
            t.oid in (to_regclass('public.organization'), to_regclass('public.user_profile'))
            or t.relnamespace = (select oid from pg_namespace where nspname = 'clerksync')
        );
    if owned is not null then
        raise exception '% owns %', service, owned
        using hint = 'Name that role as the owner, and another one as the service.';
    end if;
    if has_schema_privilege(service, 'public', 'create') then
        raise warning 'everybody may create in the schema public, as in databases from before Postgres 15: '
            'revoke create on schema public from public, and grant it to those who need it';
    end if;
end
$tell$;
commit;

\echo 'roles: owner' :owner '- service' :service '- reader' :reader
