"""Hypothesis draws the same examples in every run, so that a failure is one for everybody."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
