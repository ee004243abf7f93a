"""The server side of clerksync: SyncService, the webhook front and the command line."""
