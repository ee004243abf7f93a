"""The rules of truth: what Clerk's facts mean and how they join. Pure: no I/O, no clock, standard library only."""
