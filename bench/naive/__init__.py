"""What one would write without clerksync's design: a query for each call, a transaction for each delivery.

It is meant to be written well: the same tables and answers, the same libraries, uvloop, prepared statements, a pool.
It lacks what makes the effects right (locks, tombstones, generations), and so is even spared some work.
"""
