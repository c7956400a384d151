"""Faces that move: a mesh with shape keys and bones on a head, and Gaussians that follow it.

names         of objects, bones and attributes
face_mesh     the mesh with its shape keys, and the armature
binding       what the Gaussians follow, as attributes of their point cloud
motion_nodes  the Geometry Nodes group by which they follow
rigs          a rig inserted into the scene
"""
