-- Makes provisional profiles of the pairs in `user_organization` that have none. Not a migration: nobody can tell
-- whether such a pair is a member whom the earlier set-up forgot, or one whom Clerk has removed since. Run it only if
-- you trust the table, as the owner of the tables, after `clerksync migrate`. It may be run again, and while clerksync
-- is at work. Whoever is known to be removed is left out, and any removal that Clerk reports later ends such a profile.

do $import_user_organization$
declare
    source regclass := to_regclass('public.user_organization');
    user_column text;
    org_column text;
    condition text;
    imported bigint;
begin
    if source is null then
        raise exception 'there is no table public.user_organization';
    end if;

    select
        (array_agg(a.attname order by n.preference) filter (where n.id = 'user'))[1],
        (array_agg(a.attname order by n.preference) filter (where n.id = 'org'))[1]
    into user_column, org_column
    from pg_attribute as a
    join (
        values
            ('clerk_user_id', 'user', 1), ('user_id', 'user', 2),
            ('clerk_org_id', 'org', 1), ('organization_id', 'org', 2), ('org_id', 'org', 3)
    ) as n (name, id, preference) on n.name = a.attname
    join pg_type as t on t.oid = a.atttypid and t.typcategory = 'S'
    where a.attrelid = source and not a.attisdropped;
    if user_column is null or org_column is null then
        raise exception 'public.user_organization has no text columns with the ids of users and organizations';
    end if;

    -- Rows that are marked as gone are none.
    select string_agg(
        format(case a.atttypid when 'boolean'::regtype then '%I is not true' else '%I is null' end, a.attname), ' and '
    )
    into condition
    from pg_attribute as a
    where a.attrelid = source and not a.attisdropped
        and a.attname in ('deleted', 'deleted_at', 'is_deleted', 'removed', 'removed_at', 'is_removed');

    -- No removal may come in between.
    lock table clerksync.membership_tombstone, clerksync.deleted_entity in share mode;
    execute format(
        $sql$
            create temporary table clerksync_import on commit drop as
            select distinct s.%1$I::text as clerk_user_id, s.%2$I::text as clerk_org_id
            from public.user_organization as s
            where s.%1$I <> '' and s.%2$I <> '' and %3$s
                and not exists (
                    select from clerksync.membership_tombstone as t
                    where t.clerk_user_id = s.%1$I::text and t.clerk_org_id = s.%2$I::text
                )
                and not exists (
                    select from clerksync.deleted_entity as d
                    where (d.kind = 'user' and d.clerk_id = s.%1$I::text)
                        or (d.kind = 'organization' and d.clerk_id = s.%2$I::text)
                )
        $sql$,
        user_column, org_column, coalesce(condition, 'true')
    );
    insert into public.organization (clerk_org_id, name, is_placeholder)
    select distinct clerk_org_id, clerk_org_id, true from pg_temp.clerksync_import
    on conflict (clerk_org_id) do nothing;
    insert into public.user_profile (clerk_user_id, clerk_org_id, evidence_at)
    select clerk_user_id, clerk_org_id, 'epoch' from pg_temp.clerksync_import
    on conflict (clerk_user_id, clerk_org_id) do nothing;
    get diagnostics imported = row_count;
    drop table pg_temp.clerksync_import;
    raise notice 'imported % profiles', imported;
end
$import_user_organization$;
