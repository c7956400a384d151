"""Training of our own checkpoint: an extra, never imported at inference."""
