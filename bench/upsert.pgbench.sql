-- One row by its unique pair, committed. (A role without a colon: pgbench takes what follows one for a variable.)
\set n random(0, :profiles - 1)
insert into public.user_profile as p (
    clerk_user_id, clerk_org_id, clerk_membership_id,
    membership_created_at, membership_updated_at, membership_event_at, role
)
values (
    'user_2bench' || lpad(cast(:n as text), 20, '0'),
    'org_2bench' || lpad(cast(:n / 100 as text), 21, '0'),
    'orgmem_2bench' || lpad(cast(:n as text), 19, '0'),
    now(), now(), now(), 'member'
)
on conflict (clerk_user_id, clerk_org_id) do update set
    membership_updated_at = excluded.membership_updated_at,
    membership_event_at = excluded.membership_event_at,
    role = excluded.role,
    updated_at = now()
where p.membership_updated_at <= excluded.membership_updated_at;
