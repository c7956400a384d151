"""A head as a mesh: one closed surface with texture coordinates and a texture.

occupancy   where the head is solid, from the Gaussians' density
surface     the surface as triangles, simplified
unwrap      texture coordinates; texels, the pixels that lie on a face
texture     colors from the Gaussians
head_mesh   :class:`~.head_mesh.HeadMesh`, and :func:`~.head_mesh.make_mesh`, which does all of it
files       write .glb, .obj, .stl, .npz, and by usd .usd
"""
