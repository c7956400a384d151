"""Gaussians as Blender objects: made, drawn, edited, read and written."""
