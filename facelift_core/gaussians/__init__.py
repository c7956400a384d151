"""3D Gaussians: as tensors, as plain arrays, in files.

tensors   :class:`~.tensors.Gaussians`, what the model makes and the renderer takes
filters   the published filters: opacity, extent, distance to the camera
arrays    :class:`~.arrays.SplatArrays`, the same numbers in NumPy, without PyTorch
files     read and write by the suffix of the file; one module per format (``ply``)
"""
