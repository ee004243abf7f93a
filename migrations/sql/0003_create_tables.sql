-- The two tables that applications read, and the service's own tables beside them. Every statement about the two
-- tolerates what 0002 has kept of an earlier set-up. The schema clerksync is there: the versions are kept in it.

create table if not exists public.organization (
    id uuid not null default gen_random_uuid(),
    clerk_org_id text not null,
    name text not null,
    constraint organization_pkey primary key (id)
);

-- Only an earlier table may have done without; each of its rows gets an id of its own.
-- squawk-ignore adding-field-with-default
alter table public.organization add column if not exists id uuid not null default gen_random_uuid();

alter table public.organization
    add column if not exists slug text,
    add column if not exists image_url text,
    add column if not exists settings jsonb not null default '{}',
    add column if not exists is_placeholder boolean not null default false,
    -- Clerk's own times; null in a placeholder, which is older than everything.
    add column if not exists clerk_created_at timestamptz,
    add column if not exists clerk_updated_at timestamptz,
    add column if not exists clerk_event_at timestamptz,
    add column if not exists created_at timestamptz not null default now(),
    add column if not exists updated_at timestamptz not null default now();

create table if not exists public.user_profile (
    id uuid not null default gen_random_uuid(),
    clerk_user_id text not null,
    clerk_org_id text not null,
    constraint user_profile_pkey primary key (id)
);

-- Only an earlier table may have done without; each of its rows gets an id of its own.
-- squawk-ignore adding-field-with-default
alter table public.user_profile add column if not exists id uuid not null default gen_random_uuid();

alter table public.user_profile
    add column if not exists role text,
    -- Null while the profile is provisional: made by Ensure, not yet confirmed by a membership of Clerk.
    add column if not exists clerk_membership_id text,
    add column if not exists membership_created_at timestamptz,
    add column if not exists membership_updated_at timestamptz,
    add column if not exists membership_event_at timestamptz,
    -- When Clerk issued the token that a provisional profile rests on; null once a membership is known.
    add column if not exists evidence_at timestamptz,
    add column if not exists created_at timestamptz not null default now(),
    add column if not exists updated_at timestamptz not null default now();

-- Profiles of an earlier set-up whose organization is missing get a placeholder, with what organization_cache knows.
do $insert_placeholders$
declare
    cache_key text;
    cache text := 'values (null::text, null::text, null::text, null::text)';
begin
    if not exists (
        select from public.user_profile as p
        where p.clerk_org_id is not null
            and not exists (select from public.organization as o where o.clerk_org_id = p.clerk_org_id)
    ) then
        return;
    end if;

    select k.name into cache_key
    from unnest(array['clerk_org_id', 'clerk_organization_id', 'organization_id', 'org_id', 'id']) with ordinality as k
        (name, preference)
    join pg_attribute as a on a.attname = k.name and not a.attisdropped
    join pg_type as t on t.oid = a.atttypid and t.typcategory = 'S'
    where a.attrelid = to_regclass('public.organization_cache')
    order by k.preference
    limit 1;
    if cache_key is not null then
        select format(
            'select distinct on (%1$I::text) %1$I::text, %2$s from public.organization_cache', cache_key,
            string_agg(format('%s::text', coalesce(quote_ident(a.attname), 'null')), ', ' order by k.position)
        )
        into cache
        from unnest(array['name', 'slug', 'image_url']) with ordinality as k (name, position)
        left join pg_attribute as a
            on a.attname = k.name and not a.attisdropped and a.attrelid = to_regclass('public.organization_cache');
    end if;

    -- To the application these are new organizations: its triggers run, on the search path they were written for.
    set local search_path to default;
    execute format(
        'insert into public.organization (clerk_org_id, name, slug, image_url, is_placeholder) '
        'select p.clerk_org_id, coalesce(nullif(c.name, %1$L), p.clerk_org_id), c.slug, c.image_url, true '
        'from (select distinct clerk_org_id from public.user_profile where clerk_org_id is not null) as p '
        'left join (%2$s) as c (clerk_org_id, name, slug, image_url) using (clerk_org_id) '
        'where not exists (select from public.organization as o where o.clerk_org_id = p.clerk_org_id)',
        '', cache
    );
    set local search_path = pg_catalog, pg_temp;
end
$insert_placeholders$;

-- Code tells violations apart by these names.
do $add_constraints$
begin
    if not exists (select from pg_constraint where conrelid = 'public.organization'::regclass and contype = 'p') then
        alter table public.organization add constraint organization_pkey primary key (id);
    end if;
    if not exists (
        select from pg_constraint
        where conname = 'organization_clerk_org_id_key' and conrelid = 'public.organization'::regclass
    ) then
        alter table public.organization add constraint organization_clerk_org_id_key unique (clerk_org_id);
    end if;
    if not exists (select from pg_constraint where conrelid = 'public.user_profile'::regclass and contype = 'p') then
        alter table public.user_profile add constraint user_profile_pkey primary key (id);
    end if;
    if not exists (
        select from pg_constraint
        where conname = 'user_profile_clerk_user_id_clerk_org_id_key' and conrelid = 'public.user_profile'::regclass
    ) then
        alter table public.user_profile
            add constraint user_profile_clerk_user_id_clerk_org_id_key unique (clerk_user_id, clerk_org_id);
    end if;
    if not exists (
        select from pg_constraint
        where conname = 'user_profile_clerk_org_id_fkey' and conrelid = 'public.user_profile'::regclass
    ) then
        alter table public.user_profile
            add constraint user_profile_clerk_org_id_fkey
            foreign key (clerk_org_id) references public.organization (clerk_org_id) on delete cascade;
    end if;
end
$add_constraints$;

create index if not exists user_profile_clerk_user_id_idx on public.user_profile (clerk_user_id);
create index if not exists user_profile_clerk_org_id_idx on public.user_profile (clerk_org_id);

-- A pair (user, organization) of which at least one membership is known to have ended.
create table clerksync.membership_tombstone (
    clerk_user_id text not null,
    clerk_org_id text not null,
    -- The highest generation (created_at, membership id) known to be dead.
    through_created_at timestamptz not null,
    through_membership_id text not null,
    -- The latest known time of a removal.
    removed_at timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint membership_tombstone_pkey primary key (clerk_user_id, clerk_org_id)
);

-- Organizations and users that Clerk has deleted. Final: Clerk never uses an id again.
create table clerksync.deleted_entity (
    kind text not null,
    clerk_id text not null,
    deleted_at timestamptz not null,
    created_at timestamptz not null default now(),
    constraint deleted_entity_pkey primary key (kind, clerk_id),
    constraint deleted_entity_kind_check check (kind in ('organization', 'user'))
);

-- The ledger: one row for each delivery that was acknowledged.
create table clerksync.webhook_delivery (
    svix_id text not null,
    -- Null when the body could not even be read that far.
    event_type text,
    -- The envelope's timestamp.
    event_at timestamptz,
    -- The svix-timestamp of the attempt that was acknowledged.
    attempted_at timestamptz not null,
    received_at timestamptz not null,
    committed_at timestamptz not null default now(),
    outcome text not null,
    clerk_user_id text,
    clerk_org_id text,
    body_sha256 bytea not null,
    -- Kept only while the delivery is quarantined.
    body bytea,
    quarantine_reason text,
    constraint webhook_delivery_pkey primary key (svix_id),
    constraint webhook_delivery_outcome_check check (outcome in ('applied', 'stale', 'ignored', 'quarantined')),
    constraint webhook_delivery_body_check check ((outcome = 'quarantined') = (body is not null))
);

create index webhook_delivery_received_at_idx on clerksync.webhook_delivery (received_at);
create index webhook_delivery_quarantined_idx on clerksync.webhook_delivery (received_at) where outcome = 'quarantined';
-- The last deliveries about a user or an organization.
create index webhook_delivery_clerk_user_id_idx on clerksync.webhook_delivery (clerk_user_id, received_at)
where clerk_user_id is not null;
create index webhook_delivery_clerk_org_id_idx on clerksync.webhook_delivery (clerk_org_id, received_at)
where clerk_org_id is not null;
