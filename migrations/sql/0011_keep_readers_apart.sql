-- Policies that name a role go with `drop owned by` that role, and each of its members may say that. So what keeps readers
-- from other organizations names none: it is there for everybody, and asks who somebody is.

drop policy if exists clerksync_keep_readers_apart on public.organization;
drop policy if exists clerksync_keep_readers_apart on public.user_profile;

-- Whatever other policies allow. Both sub-selects are run once for a query; for who is no reader the second is not run.
create policy clerksync_keep_readers_apart on public.organization as restrictive for select to public using (
    (select not coalesce(pg_has_role(to_regrole('clerksync_reader'), 'usage'), false))
    or clerk_org_id = (select clerksync.claimed_org_id())
);
create policy clerksync_keep_readers_apart on public.user_profile as restrictive for select to public using (
    (select not coalesce(pg_has_role(to_regrole('clerksync_reader'), 'usage'), false))
    or clerk_org_id = (select clerksync.claimed_org_id())
);
