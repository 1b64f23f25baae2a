"""Hypothesis without deadlines: on a busy machine a slow example is no failure."""

from hypothesis import settings

settings.register_profile("properties", deadline=None)
settings.load_profile("properties")
