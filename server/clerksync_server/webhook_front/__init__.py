"""The webhook front: takes Clerk's signed deliveries over HTTP and hands them to SyncService."""
