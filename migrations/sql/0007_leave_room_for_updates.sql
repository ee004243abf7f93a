-- Rows that change keep their place: with room in their page an update needs no new entry in any index.

alter table public.organization set (fillfactor = 90);
alter table public.user_profile set (fillfactor = 90);
