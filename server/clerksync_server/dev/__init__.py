"""For developers: an embedded Postgres, sample events, and a sender that signs as Clerk does."""
