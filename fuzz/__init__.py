"""Coverage-guided fuzzing of what strangers reach. `python -m fuzz --help`, and docs/security.md.

A target is a function of bytes that returns, whatever they are, or raises AssertionError: something is wrong.
"""
