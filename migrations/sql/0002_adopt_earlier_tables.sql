-- Brings `organization` and `user_profile` of an earlier Clerk set-up, which 0001 has found fit, into the shape that
-- 0003 completes. Without such tables it does nothing. No row is deleted, and ids, names, slugs, images, settings,
-- roles and columns of the application's keep their values. Statements are collected before the first of them runs,
-- because they change what the views of 0001 show.

-- Takes away what 0003 makes anew, and unique slugs: Clerk frees slugs and lets others use them.
do $drop_constraints$
declare
    statement text;
begin
    foreach statement in array array(
        select format('alter table public.user_profile drop constraint %I', c.conname)
        from pg_constraint as c
        join clerksync.earlier_column as e on e.relation = c.conrelid and c.conkey = array[e.position]
        where e.table_name = 'user_profile' and e.column_name = 'clerk_org_id' and c.contype = 'f'
            and not (
                c.confdeltype = 'c' and c.convalidated and not c.condeferrable
                and exists (
                    select from clerksync.earlier_column as o
                    where o.table_name = 'organization' and o.column_name = 'clerk_org_id'
                        and o.relation = c.confrelid and c.confkey = array[o.position]
                )
            )
        union all
        select case
            when i.constraint_name is null then format('drop index public.%I', i.index_name)
            else format('alter table public.organization drop constraint %I', i.constraint_name)
        end
        from clerksync.earlier_index as i
        where i.is_unique and i.is_slug_alone
        union all
        -- Whoever finds organizations by their slug still needs an index.
        select 'create index if not exists organization_slug_idx on public.organization (slug)'
        where exists (select from clerksync.earlier_index as i where i.is_unique and i.is_slug_alone)
    ) loop
        execute statement;
    end loop;
end
$drop_constraints$;

-- One rewrite for each table. A time without a zone is read as UTC.
do $convert_columns$
declare
    statement text;
begin
    foreach statement in array array(
        -- Clerk's columns have no defaults: what is not known yet is null. A default time would be converted wrongly.
        select format('alter table public.%I alter column %I drop default', e.table_name, e.column_name)
        from clerksync.earlier_column as e
        where e.kind in ('key', 'text') or e.kind = 'time' and e.differs
        union all
        select format('alter table public.%I %s', e.table_name, string_agg(
            format(
                'alter column %1$I type %2$s using %1$I::%3$s', e.column_name, e.wanted_type,
                case e.kind when 'time' then 'timestamp at time zone ''UTC''' else e.wanted_type end
            ),
            ', '
        ))
        from clerksync.earlier_column as e
        where e.differs
        group by e.table_name
        union all
        select format('alter table public.%I alter column %I drop not null', e.table_name, e.column_name)
        from clerksync.earlier_column as e
        where e.kind = 'text' and e.column_name <> 'name' and e.is_not_null
        union all
        select format('alter table public.%I alter column id set default gen_random_uuid()', e.table_name)
        from clerksync.earlier_column as e
        where e.kind = 'id' and e.type_name = 'uuid' and not e.fills_itself
    ) loop
        execute statement;
    end loop;
end
$convert_columns$;

-- Fills what must not be null, and makes every profile provisional: it rests on the time at which the earlier set-up
-- made it, so that a removal which Clerk reports ends it, and the next event about the membership confirms it.
do $fill_columns$
declare
    earlier text;
    assignments text;
    condition text;
    statement text;
    sleep text[];
    wake text[];
    has_evidence boolean := exists (
        select from clerksync.earlier_column where table_name = 'user_profile' and column_name = 'evidence_at'
    );
    has_created_at boolean := exists (
        select from clerksync.earlier_column where table_name = 'user_profile' and column_name = 'created_at'
    );
begin
    alter table if exists public.organization
        add column if not exists name text,
        add column if not exists is_placeholder boolean not null default false;
    alter table if exists public.user_profile add column if not exists evidence_at timestamptz;

    foreach earlier in array array(select distinct table_name from clerksync.earlier_column) loop
        select
            string_agg(format('%1$I = coalesce(%1$I, %2$s)', e.column_name, stand_in.expression), ', '),
            string_agg(format('%I is null', e.column_name), ' or ')
        into assignments, condition
        from clerksync.earlier_column as e
        join (
            values ('json', $$'{}'$$::text), ('time', 'now()'), ('text', $$clerk_org_id, ''$$)
        ) as stand_in (kind, expression) using (kind)
        where e.table_name = earlier and (e.kind <> 'text' or e.column_name = 'name');
        if earlier = 'organization' then
            assignments := assignments || ', is_placeholder = is_placeholder or name is null';
        elsif not has_evidence then
            assignments := concat_ws(', ', assignments, format(
                'evidence_at = least(coalesce(%s, timestamptz %L), now())',
                case when has_created_at then 'created_at' else 'null' end, 'epoch'
            ));
            condition := 'true';
        end if;
        continue when assignments is null;

        -- The application's triggers sleep meanwhile: nothing happened that they should know of, and what they do to a
        -- changed row would change what has to stay.
        select
            array_agg(format('alter table public.%I disable trigger %I', earlier, tgname)),
            array_agg(format('alter table public.%I enable %s trigger %I', earlier,
                case tgenabled when 'A' then 'always' else '' end, tgname))
        into sleep, wake
        from pg_trigger
        where tgrelid = format('public.%I', earlier)::regclass and not tgisinternal and tgenabled in ('O', 'A');
        foreach statement in array coalesce(sleep, '{}') loop
            execute statement;
        end loop;
        -- What else of the application's runs on an update was written for the search path of its own sessions.
        set local search_path to default;
        execute format('update public.%I set %s where %s', earlier, assignments, condition);
        set local search_path = pg_catalog, pg_temp;
        foreach statement in array coalesce(wake, '{}') loop
            execute statement;
        end loop;
    end loop;
end
$fill_columns$;

-- What 0003 declares for new tables and columns. A key stays nullable only where rows without it exist.
do $constrain_columns$
declare
    target record;
    has_null boolean;
begin
    for target in
        select table_name, column_name, kind, fills_itself from clerksync.earlier_column
        where kind in ('id', 'key', 'json', 'time') or column_name = 'name'
    loop
        execute format(
            'select exists (select from public.%I where %I is null)', target.table_name, target.column_name
        ) into has_null;
        if has_null then
            raise warning 'public.% has rows without %: they are kept, and no reader sees them',
                target.table_name, target.column_name;
            continue;
        end if;
        execute format('alter table public.%I alter column %I set not null', target.table_name, target.column_name);
        if target.kind = 'time' or target.kind = 'json' and not target.fills_itself then
            execute format(
                'alter table public.%I alter column %I set default %s', target.table_name, target.column_name,
                case target.kind when 'json' then '''{}''' else 'now()' end
            );
        end if;
    end loop;
end
$constrain_columns$;

-- Keeps what does the same as a constraint or index of 0003, under the name by which clerksync knows it.
do $rename_indexes$
declare
    wanted record;
    kept record;
    statement text;
begin
    for wanted in select * from clerksync.wanted_index loop
        select i.* into kept
        from clerksync.earlier_index as i
        where i.table_name = wanted.table_name and i.columns = wanted.columns
            and i.is_unique = wanted.is_unique and i.is_complete
        order by
            i.is_primary desc,
            exists (select from pg_constraint as c where c.conindid = i.indexrelid and c.contype = 'f') desc,
            i.index_name = wanted.index_name desc,
            i.indexrelid
        limit 1;

        -- A second unique index would be reported under its own name, and a deferrable one is of no use to an upsert.
        foreach statement in array array(
            select case
                when i.constraint_name is null then format('drop index public.%I', i.index_name)
                else format('alter table public.%I drop constraint %I', i.table_name, i.constraint_name)
            end
            from clerksync.earlier_index as i
            where i.table_name = wanted.table_name and i.columns = wanted.columns
                and i.is_unique and wanted.is_unique and i.indexrelid is distinct from kept.indexrelid
                and not i.has_condition
        ) loop
            execute statement;
        end loop;

        continue when kept.indexrelid is null;
        if wanted.is_unique and kept.constraint_name is null then
            execute format('alter table public.%I add constraint %I unique using index %I',
                wanted.table_name, wanted.index_name, kept.index_name);
        elsif kept.index_name <> wanted.index_name then
            -- Renames the constraint with it.
            execute format('alter index public.%I rename to %I', kept.index_name, wanted.index_name);
        end if;
    end loop;

    -- What is left of a profile's keys to its organization does what 0003 wants.
    foreach statement in array array(
        select format(
            'alter table public.user_profile rename constraint %I to user_profile_clerk_org_id_fkey', c.conname
        )
        from pg_constraint as c
        join clerksync.earlier_column as e on e.relation = c.conrelid and c.conkey = array[e.position]
        where e.table_name = 'user_profile' and e.column_name = 'clerk_org_id' and c.contype = 'f'
            and not exists (
                select from pg_constraint as named
                where named.conrelid = c.conrelid and named.conname = 'user_profile_clerk_org_id_fkey'
            )
        order by c.oid
        limit 1
    ) loop
        execute statement;
    end loop;
end
$rename_indexes$;

-- Tells about keys of the application's that will not let Clerk's deletions through.
do $warn$
declare
    blocking record;
begin
    for blocking in
        select c.conname, c.conrelid::regclass as referrer, c.confrelid::regclass as referred
        from pg_constraint as c
        where c.contype = 'f' and c.confdeltype in ('a', 'r')
            and c.confrelid in (to_regclass('public.organization'), to_regclass('public.user_profile'))
    loop
        raise warning 'the foreign key % of % has no "on delete" action: what Clerk deletes cannot be deleted from % '
            'while rows of % refer to it', blocking.conname, blocking.referrer, blocking.referred, blocking.referrer;
    end loop;
end
$warn$;

-- Nobody but these two migrations has ever seen them.
-- squawk-ignore ban-drop-view
drop view clerksync.earlier_index, clerksync.earlier_column, clerksync.wanted_index, clerksync.wanted_column;
