"""Between our world (Z up, head facing −Y) and that of formats that state Y up (head facing +Z)."""

from __future__ import annotations

import numpy as np

from ..errors import FaceLiftError
from .arrays import SplatArrays
from .damage import Damaged
from .transforms import transform

Z_UP_TO_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""(4, 4): x, y, z to x, z, −y."""
Y_UP_TO_Z_UP = np.ascontiguousarray(Z_UP_TO_Y_UP.T)


def placed(splats: SplatArrays, matrix: np.ndarray) -> SplatArrays:
    """Transform `splats` by a (4, 4) matrix from a file.

    Raises:
        Damaged: the matrix is not finite, or flattens what it transforms.
    """
    try:
        if np.isfinite(matrix).all() and np.abs(matrix).max() < 1e9:
            return transform(splats, matrix)
    except (FaceLiftError, np.linalg.LinAlgError):
        pass
    raise Damaged("places its Gaussians by a matrix that cannot be used: it is flat or not finite")
