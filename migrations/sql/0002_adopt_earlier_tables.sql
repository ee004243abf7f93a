-- Brings `organization` and `user_profile` of an earlier Clerk set-up, which 0001 has found fit, into the shape that 0003
-- completes. Without such tables it does nothing. No row is deleted, and ids, names, slugs, images, settings, roles and
-- columns of the application's keep their values.

-- Takes away the constraints that 0002 makes anew or that would refuse what Clerk sends: slugs are freed and used again.
do $drop_constraints$
declare
    doomed record;
begin
    for doomed in
        select c.conname, t.oid::regclass as relation
        from pg_constraint as c
        join pg_class as t on t.oid = c.conrelid
        where t.relnamespace = 'public'::regnamespace and t.relname = 'user_profile' and c.contype = 'f'
            and c.conkey = (select array[position] from clerksync.earlier_column as e
                where e.relation = t.oid and e.column_name = 'clerk_org_id')
            and not (
                c.confrelid = to_regclass('public.organization') and c.confdeltype = 'c' and c.convalidated and not c.condeferrable
                and c.confkey = (select array[position] from clerksync.earlier_column as e
                    where e.relation = c.confrelid and e.column_name = 'clerk_org_id')
            )
    loop
        execute format('alter table %s drop constraint %I', doomed.relation, doomed.conname);
    end loop;

    for doomed in select * from clerksync.earlier_index where is_unique and is_slug_alone loop
        if doomed.constraint_name is null then
            execute format('drop index public.%I', doomed.index_name);
        else
            execute format('alter table %s drop constraint %I', doomed.relation, doomed.constraint_name);
        end if;
        -- Whoever finds organizations by their slug still needs an index.
        create index if not exists organization_slug_idx on public.organization (slug);
    end loop;
end
$drop_constraints$;

-- One rewrite for each table. A time without a zone is read as UTC, which is what servers and Clerk count in.
do $convert_columns$
declare
    change record;
begin
    for change in
        select
            relation,
            string_agg(
                format(
                    'alter column %1$I drop default, alter column %1$I type %2$s using %3$s',
                    column_name, wanted_type,
                    case kind
                        when 'time' then format('%I::timestamp at time zone ''UTC''', column_name)
                        else format('%I::%s', column_name, wanted_type)
                    end
                ),
                ', '
            ) as clauses
        from clerksync.earlier_column
        where differs
        group by relation
    loop
        execute format('alter table %s %s', change.relation, change.clauses);
    end loop;

    for change in
        select format('alter table %s alter column %I drop not null', relation, column_name) as statement
        from clerksync.earlier_column
        where kind = 'text' and column_name <> 'name' and is_not_null
    loop
        execute change.statement;
    end loop;

    for change in
        select format('alter table %s alter column id set default gen_random_uuid()', relation) as statement
        from clerksync.earlier_column
        where kind = 'id' and type_name = 'uuid' and not fills_itself
    loop
        execute change.statement;
    end loop;
end
$convert_columns$;

-- Fills what must not be null, and makes every profile provisional: it rests on the time at which the earlier set-up made
-- it, so that a removal which Clerk reports ends it, and the next event about the membership confirms it.
do $fill_columns$
declare
    sleeping text;
    assignments text;
    earlier record;
    is_first_time boolean;
begin
    if to_regclass('public.organization') is not null then
        alter table public.organization add column if not exists name text;
        alter table public.organization add column if not exists is_placeholder boolean not null default false;
    end if;
    is_first_time := to_regclass('public.user_profile') is not null and not exists (
        select from clerksync.earlier_column where table_name = 'user_profile' and column_name = 'evidence_at'
    );
    if is_first_time then
        alter table public.user_profile add column evidence_at timestamptz;
    end if;

    for earlier in select distinct relation, table_name from clerksync.earlier_column loop
        select string_agg(
            format(
                '%1$I = coalesce(%1$I, %2$s)',
                column_name,
                case kind when 'json' then '''{}''' when 'time' then 'now()' else 'clerk_org_id, ''''' end
            ),
            ', '
        )
        into assignments
        from clerksync.earlier_column
        where relation = earlier.relation and (kind in ('json', 'time') or column_name = 'name');
        if earlier.table_name = 'organization' then
            assignments := concat_ws(', ', assignments, 'is_placeholder = is_placeholder or name is null');
        elsif is_first_time then
            assignments := concat_ws(', ', assignments, format(
                'evidence_at = least(coalesce(%s, ''epoch''), now())',
                (select e.column_name from clerksync.earlier_column as e
                    where e.table_name = 'user_profile' and e.column_name = 'created_at')
            ));
        end if;
        continue when assignments is null;
