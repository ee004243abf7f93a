"""Shows what clients count, to whom a service tells its metrics: `prometheus` or `opentelemetry`.

Neither is needed to use a client; `SyncClient.stats` has the plain numbers.
"""
