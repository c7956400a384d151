"""Read photos of any format as upright 8-bit sRGB, within bounds of pixels, bytes, memory, and time.

opening     files and PIL images to photos; what is decoded here and what in a process of its own
apart       that process
decoding    an opened picture to a photo
colors      color profiles and other statements of a file's colors
png, raw    what Pillow does not read of PNG and camera raw files

Does not import PyTorch.
"""

from .opening import open_photo
from .photo import ALL_TRANSPARENT, Photo, as_image, rescaled

__all__ = ["ALL_TRANSPARENT", "Photo", "as_image", "open_photo", "rescaled"]
