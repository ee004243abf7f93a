-- The two tables that applications read, and the service's own schema beside them.
-- Every statement tolerates what 0001 found and kept of an earlier set-up.

create table if not exists public.organization (
    id uuid not null default gen_random_uuid(),
    clerk_org_id text not null,
    name text not null,
    constraint organization_pkey primary key (id)
);

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

-- constraints and indexes (see 0001 for what an adopted table may already have)
-- organization_clerk_org_id_key       unique (clerk_org_id)
-- user_profile_clerk_user_id_clerk_org_id_key   unique (clerk_user_id, clerk_org_id)
-- user_profile_clerk_org_id_fkey      foreign key (clerk_org_id) references organization (clerk_org_id) on delete cascade
-- user_profile_clerk_user_id_idx, user_profile_clerk_org_id_idx

create schema if not exists clerksync;

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
