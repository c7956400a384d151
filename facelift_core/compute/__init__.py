"""Devices, memory, and fast operations shared by all networks."""
