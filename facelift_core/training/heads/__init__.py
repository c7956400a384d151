"""Synthetic heads: random people, painted, lit and rendered from any camera, to train our own checkpoint.

The stages are ``anatomy`` (shape) → ``appearance`` and ``hair`` (colors, hair) → ``scene`` (posed and placed like an
aligned portrait) → ``lighting`` → ``render`` (views and depth). ``dataset`` writes and reads many heads.
"""
