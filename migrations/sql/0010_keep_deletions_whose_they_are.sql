-- The service moves the time of a deletion and nothing else of it: who could give it another id could forget it.

revoke update on clerksync.deleted_entity from clerksync_service;
grant update (deleted_at) on clerksync.deleted_entity to clerksync_service;
