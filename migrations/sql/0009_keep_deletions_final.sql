-- The service never forgets that something was deleted in Clerk, so it needs no right to.

revoke delete on clerksync.deleted_entity from clerksync_service;
