"""Getting a machine ready: preferences, runtime, weights."""
