"""Postgres: the connections, the queries, and the migrations of the schema."""
