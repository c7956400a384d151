"""Devices, memory, and fast building blocks that every network uses."""
