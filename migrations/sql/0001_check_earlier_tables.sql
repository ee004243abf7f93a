-- Looks at `organization` and `user_profile` of an earlier Clerk set-up, and refuses what cannot be adopted whole,
-- before anything has changed. On a database without such tables it finds nothing. Its views serve 0002 too, which
-- drops them.

-- The columns that have a meaning for clerksync. `key` and `text` come from Clerk, `own` ones only clerksync makes.
create view clerksync.wanted_column (table_name, column_name, kind, wanted_type) as
values
    ('organization', 'clerk_org_id', 'key', 'text'),
    ('organization', 'name', 'text', 'text'),
    ('organization', 'slug', 'text', 'text'),
    ('organization', 'image_url', 'text', 'text'),
    ('organization', 'settings', 'json', 'jsonb'),
    ('organization', 'created_at', 'time', 'timestamptz'),
    ('organization', 'updated_at', 'time', 'timestamptz'),
    ('organization', 'is_placeholder', 'own', 'boolean'),
    ('organization', 'clerk_created_at', 'own', 'timestamptz'),
    ('organization', 'clerk_updated_at', 'own', 'timestamptz'),
    ('organization', 'clerk_event_at', 'own', 'timestamptz'),
    ('user_profile', 'clerk_user_id', 'key', 'text'),
    ('user_profile', 'clerk_org_id', 'key', 'text'),
    ('user_profile', 'role', 'text', 'text'),
    ('user_profile', 'created_at', 'time', 'timestamptz'),
    ('user_profile', 'updated_at', 'time', 'timestamptz'),
    ('user_profile', 'clerk_membership_id', 'own', 'text'),
    ('user_profile', 'membership_created_at', 'own', 'timestamptz'),
    ('user_profile', 'membership_updated_at', 'own', 'timestamptz'),
    ('user_profile', 'membership_event_at', 'own', 'timestamptz'),
    ('user_profile', 'evidence_at', 'own', 'timestamptz');

create view clerksync.wanted_index (table_name, index_name, is_unique, columns) as
values
    ('organization', 'organization_clerk_org_id_key', true, array['clerk_org_id']),
    ('user_profile', 'user_profile_clerk_user_id_clerk_org_id_key', true, array['clerk_org_id', 'clerk_user_id']),
    ('user_profile', 'user_profile_clerk_user_id_idx', false, array['clerk_user_id']),
    ('user_profile', 'user_profile_clerk_org_id_idx', false, array['clerk_org_id']);

-- The tables as they are: their columns, and whatever stops a column's type from being changed.
create view clerksync.earlier_column as
select
    t.oid::regclass as relation,
    t.relname::text as table_name,
    a.attname::text as column_name,
    a.attnum as position,
    coalesce(w.kind, case a.attname when 'id' then 'id' else 'extra' end) as kind,
    w.wanted_type,
    format_type(a.atttypid, a.atttypmod) as type_name,
    a.attnotnull as is_not_null,
    a.atthasdef or a.attidentity <> '' as fills_itself,
    a.attgenerated <> '' or a.attidentity <> '' as is_generated,
    blockers.names as used_by,
    -- A varchar without a limit too: a query that has a parameter for it and for a text finds no type that fits both.
    a.atttypid <> w.wanted_type::regtype as differs,
    case w.kind
        when 'key' then y.typcategory = 'S'
        when 'text' then y.typcategory in ('S', 'E')
        when 'json' then a.atttypid in ('json'::regtype, 'jsonb'::regtype)
        when 'time' then a.atttypid in ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
        when 'own' then a.atttypid = w.wanted_type::regtype
    end as is_convertible
from pg_class as t
join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
join pg_type as y on y.oid = a.atttypid
left join clerksync.wanted_column as w on w.table_name = t.relname and w.column_name = a.attname
cross join lateral (
    select string_agg(
        distinct coalesce('view ' || r.ev_class::regclass, pg_describe_object(d.classid, d.objid, 0)), ', '
    )
    from pg_depend as d
    left join pg_rewrite as r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
    where d.refclassid = 'pg_class'::regclass and d.refobjid = t.oid and d.refobjsubid = a.attnum
        and d.classid in (
            'pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_trigger'::regclass, 'pg_proc'::regclass,
            'pg_publication_rel'::regclass
        )
) as blockers (names)
where t.relnamespace = 'public'::regnamespace and t.relkind = 'r' and t.relname in ('organization', 'user_profile');

-- Their indexes: the columns of the key in alphabetical order, and those of Clerk's that key or condition touch.
create view clerksync.earlier_index as
select
    i.indexrelid,
    t.oid::regclass as relation,
    t.relname::text as table_name,
    x.relname::text as index_name,
    c.conname::text as constraint_name,
    i.indisprimary as is_primary,
    i.indisunique or i.indisexclusion as is_unique,
    i.indpred is not null as has_condition,
    -- Fit to back a constraint.
    i.indisvalid and i.indimmediate and not i.indisexclusion and i.indpred is null and 0 = all (i.indoption::int2 [])
        and not exists (select from pg_opclass as o where o.oid = any (i.indclass) and not o.opcdefault) as is_complete,
    keys.columns,
    touched.columns as touches,
    touched.columns = array['slug'] and not exists (
        select from pg_attribute as a
        where a.attrelid = i.indrelid and a.attname <> 'slug' and a.attname = any (keys.columns)
    ) as is_slug_alone
from pg_index as i
join pg_class as t on t.oid = i.indrelid
join pg_class as x on x.oid = i.indexrelid
left join pg_constraint as c on c.conindid = i.indexrelid and c.conrelid = i.indrelid and c.contype in ('p', 'u', 'x')
cross join lateral (
    select array(
        select pg_get_indexdef(i.indexrelid, key_position, false)
        from generate_series(1, i.indnkeyatts) as key_position
        order by 1
    )
) as keys (columns)
cross join lateral (
    select array(
        select w.column_name
        from clerksync.wanted_column as w
        join pg_attribute as a on a.attrelid = i.indrelid and a.attname = w.column_name
        where w.table_name = t.relname and w.kind in ('key', 'text')
            and (
                a.attname = any (keys.columns)
                or (i.indexprs is not null or i.indpred is not null) and exists (
                    select from pg_depend as d
                    where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                        and d.refobjid = i.indrelid and d.refobjsubid = a.attnum
                )
            )
    )
) as touched (columns)
where t.relnamespace = 'public'::regnamespace and t.relkind = 'r' and t.relname in ('organization', 'user_profile');

-- Refuses what cannot be adopted, as told by the catalog: everything at once.
do $check_shape$
declare
    problem text;
    remedy text;
    problems text := '';
    remedies text := '';
    number integer := 0;
begin
    for problem, remedy in
        select
            format('public.%I is not an ordinary, permanent table without rules, parents and children', t.relname),
            'rename it; a view of yours can show the table that clerksync makes in its place'
        from pg_class as t
        where t.relnamespace = 'public'::regnamespace and t.relname in ('organization', 'user_profile')
            and (
                t.relkind <> 'r'
                or t.relpersistence <> 'p'
                or exists (select from pg_inherits where t.oid in (inhrelid, inhparent))
                or exists (select from pg_rewrite where ev_class = t.oid)
            )

        union all
        select
            format('public.%I belongs to the role %I', t.relname, pg_get_userbyid(t.relowner)),
            format('run the migration as that role, or: alter table public.%I owner to %I;', t.relname, current_user)
        from pg_class as t
        where t.relnamespace = 'public'::regnamespace and t.relname in ('organization', 'user_profile')
            and not pg_has_role(t.relowner, 'usage')

        union all
        select
            format('row-level security of public.%I binds its owner too, and would hide rows from us', t.relname),
            format('alter table public.%I no force row level security; and force it again afterwards', t.relname)
        from pg_class as t
        where t.relnamespace = 'public'::regnamespace and t.relname in ('organization', 'user_profile')
            and t.relkind = 'r' and row_security_active(t.oid)

        union all
        select
            format('public.%I has no column %I', w.table_name, w.column_name),
            format('rename the column with Clerk''s ids to %I, or the table if it is another one', w.column_name)
        from clerksync.wanted_column as w
        where w.kind = 'key'
            and exists (select from clerksync.earlier_column as e where e.table_name = w.table_name)
            and not exists (
                select from clerksync.earlier_column as e
                where e.table_name = w.table_name and e.column_name = w.column_name
            )

        union all
        select
            format('public.%I.%I has a name that clerksync needs for a column of its own', e.table_name, e.column_name),
            format('alter table public.%I rename column %I to earlier_%2$s;', e.table_name, e.column_name)
        from clerksync.earlier_column as e
        where e.kind = 'own'
            -- All of them, as they should be: a table of clerksync's that was restored without the schema clerksync.
            and exists (
                select from clerksync.wanted_column as w
                left join clerksync.earlier_column as o using (table_name, column_name)
                where w.kind = 'own' and w.table_name = e.table_name and o.is_convertible is not true
            )

        union all
        select
            format('public.%I.%I is %s%s', e.table_name, e.column_name,
                case when e.is_generated then 'generated, of type ' else 'of type ' end, e.type_name),
            format('convert it to %s, or rename it if it means something else', e.wanted_type)
        from clerksync.earlier_column as e
        where e.kind in ('key', 'text', 'json', 'time') and (e.is_generated or not e.is_convertible)

        union all
        select
            format('public.%I.%I has to become %s, and this uses it: %s',
                e.table_name, e.column_name, e.wanted_type, e.used_by),
            format('drop it, migrate, and create it again: %s', e.used_by)
        from clerksync.earlier_column as e
        where e.differs and e.is_convertible and e.kind <> 'own' and e.used_by is not null

        union all
        select
            format('public.%I.%I must not be null and has no default: clerksync cannot fill it',
                e.table_name, e.column_name),
            format('give it a default, or: alter table public.%I alter column %I drop not null;',
                e.table_name, e.column_name)
        from clerksync.earlier_column as e
        where e.is_not_null and not e.fills_itself
            and (e.kind = 'extra' or e.kind = 'id' and e.type_name <> 'uuid')

        union all
        select
            format('the %s %I of public.%I could refuse what Clerk sends',
                case c.contype when 'f' then 'foreign key' else 'check' end, c.conname, t.relname),
            format('alter table public.%I drop constraint %I;', t.relname, c.conname)
        from pg_constraint as c
        join pg_class as t on t.oid = c.conrelid
        where t.relnamespace = 'public'::regnamespace and c.contype in ('c', 'f')
            and exists (
                select from clerksync.earlier_column as e
                where e.relation = t.oid and e.position = any (c.conkey) and e.kind in ('key', 'text')
            )
            -- A profile's key to its organization is replaced below.
            and not (
                t.relname = 'user_profile'
                and c.confrelid in (to_regclass('public.organization'), to_regclass('public.organization_cache'))
                and (select array_agg(e.column_name) from clerksync.earlier_column as e
                    where e.relation = t.oid and e.position = any (c.conkey)) = array['clerk_org_id']
            )

        union all
        select
            format('the unique index %I of public.%I could refuse what Clerk sends', i.index_name, i.table_name),
            case
                when i.constraint_name is null then format('drop index public.%I;', i.index_name)
                else format('alter table public.%I drop constraint %I;', i.table_name, i.constraint_name)
            end
        from clerksync.earlier_index as i
        where i.is_unique and i.touches <> '{}' and not i.is_slug_alone
            and not 'id' = any (i.columns)
            and not exists (
                select from clerksync.wanted_index as w
                where w.is_unique and w.table_name = i.table_name and w.columns <@ i.columns
            )

        union all
        select
            format('the name %I, which clerksync needs for an index, is taken', w.index_name),
            format('rename what has it: %s', pg_describe_object('pg_class'::regclass, x.oid, 0))
        from clerksync.wanted_index as w
        join pg_class as x on x.relname = w.index_name and x.relnamespace = 'public'::regnamespace
        where not exists (
            select from clerksync.earlier_index as i
            where i.indexrelid = x.oid and i.table_name = w.table_name and i.columns = w.columns
                and i.is_unique = w.is_unique and not i.has_condition
        )
    loop
        number := number + 1;
        problems := problems || format(E'\n%s. %s', number, problem);
        remedies := remedies || format(E'%s. %s\n', number, remedy);
    end loop;

    if number > 0 then
        raise exception using
            errcode = 'CS001',
            message = 'the tables of an earlier set-up cannot be adopted as they are; nothing was changed:' || problems,
            hint = remedies || 'Then run the migration again.';
    end if;
end
$check_shape$;

-- Refuses what cannot be adopted, as told by the rows. From here on nobody else can change them.
do $check_rows$
declare
    earlier text;
    key record;
    mark record;
    found boolean;
begin
    for earlier in select distinct table_name from clerksync.earlier_column loop
        execute format('lock table public.%I in access exclusive mode', earlier);
    end loop;

    for key in
        select w.table_name, string_agg(format('%I', c.name), ', ') as columns
        from clerksync.wanted_index as w
        cross join unnest(w.columns) as c (name)
        where w.is_unique and exists (select from clerksync.earlier_column as e where e.table_name = w.table_name)
        group by w.table_name
        union all
        select e.table_name, 'id' from clerksync.earlier_column as e where e.kind = 'id'
    loop
        execute format(
            'select exists (select from public.%I where num_nulls(%s) = 0 group by %s having count(*) > 1)',
            key.table_name, key.columns, key.columns
        ) into found;
        if found then
            raise exception using
                errcode = 'CS001',
                message = format('public.%I has several rows with the same %s; nothing was changed',
                    key.table_name, key.columns),
                hint = format(
                    'Keep one of each. This lists them: '
                    'select %1$s, count(*) from public.%2$I group by %1$s having count(*) > 1;',
                    key.columns, key.table_name
                );
        end if;
        -- Rows without Clerk's ids stay as they are, but each needs an id of its own.
        continue when key.columns <> 'id';
        execute format('select exists (select from public.%I where id is null)', key.table_name) into found;
        if found then
            raise exception using
                errcode = 'CS001',
                message = format('public.%I has rows without an id; nothing was changed', key.table_name),
                hint = format('Give each one of its own. This lists them: select * from public.%I where id is null;',
                    key.table_name);
        end if;
    end loop;

    for mark in
        select
            e.table_name,
            e.column_name,
            format(case e.type_name when 'boolean' then '%I' else '%I is not null' end, e.column_name) as condition
        from clerksync.earlier_column as e
        where e.kind = 'extra'
            and e.column_name in ('deleted', 'deleted_at', 'is_deleted', 'removed', 'removed_at', 'is_removed')
            and (e.type_name in ('boolean', 'date') or e.type_name like 'timestamp%')
    loop
        execute format('select exists (select from public.%I where %s)', mark.table_name, mark.condition) into found;
        if found then
            raise exception using
                errcode = 'CS001',
                message = format(
                    'public.%I has rows that %I marks as gone, and clerksync would take for alive; nothing was changed',
                    mark.table_name, mark.column_name
                ),
                hint = format(
                    'Move or delete them. This lists them: select * from public.%I where %s;',
                    mark.table_name, mark.condition
                );
        end if;
    end loop;
end
$check_rows$;
