"""3D Gaussians as tensors, as NumPy arrays, and in files.

tensors   :class:`~.tensors.Gaussians`, the output of the model and the input of the renderer
filters   the published filters: opacity, scale and position
arrays    :class:`~.arrays.SplatArrays`, the same data in NumPy, without PyTorch
files     read and write files by suffix; one module per format (``ply``)
"""
