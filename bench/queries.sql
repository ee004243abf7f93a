-- name: create_database
create database "{name}" template "{template}";

-- name: insert_organizations
-- $1 = how many there are, $2 = how many there are to be, $3 = when they were made, in Clerk
insert into public.organization (
    clerk_org_id, name, slug, image_url, clerk_created_at, clerk_updated_at, clerk_event_at
)
select
    'org_2bench' || lpad(n::text, 21, '0'),
    'Organization ' || n,
    'organization-' || n,
    'https://img.clerk.com/sample',
    $3::timestamptz,
    $3,
    $3
from generate_series($1::bigint, $2::bigint - 1) as n;

-- name: leave_out_checks
-- Of foreign keys, while rows are copied that are right.
set session_replication_role = replica;

-- name: tidy
vacuum analyze public.organization, public.user_profile;

-- name: settings
select name, current_setting(name) as value
from pg_settings
where name in (
    'server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', 'max_connections', 'wal_level'
)
order by name;
