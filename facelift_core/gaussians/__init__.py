"""3D Gaussians as tensors, as NumPy arrays, and in files.

tensors         :class:`~.tensors.Gaussians`, the output of the model and the input of the renderer
filters         the published filters: opacity, scale and position
arrays          :class:`~.arrays.SplatArrays`, the same data in NumPy, without PyTorch
transforms      affine transforms of arrays; axes those between Z up and Y up
files           read and write files by suffix; one module per format, listed in ``FORMATS``
repair          what makes the Gaussians of a file drawable
damage          errors and limits of readers; quantization the arithmetic of compressed formats
ply             .ply; ply_header and ply_rows read any .ply, compressed_ply the packed one
spz, sog, splat, glb, usd  the formats of these names
gltf_nodes, usd_stage, usd_apart  the scene of a .glb; stages, and the reader, of USD
"""
