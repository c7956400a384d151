"""Setup: preferences, runtime and weights."""
