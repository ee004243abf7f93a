"""Measures clerksync against its floors, and writes docs/performance.md. `make bench` runs it."""
