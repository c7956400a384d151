"""Synthetic heads: random people, painted, lit and rendered from any camera, for training our own checkpoint.

A head goes through ``anatomy`` (shape) → ``appearance`` and ``hair`` (paint, hair) → ``scene`` (posed and placed like
an aligned portrait) → ``lighting`` → ``render`` (views and depth); ``dataset`` writes and reads many of them.
"""
