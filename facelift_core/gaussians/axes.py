"""Between our world (Z up, head facing −Y) and that of formats that state Y up (head facing +Z)."""

from __future__ import annotations

import numpy as np

Z_UP_TO_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""(4, 4): x, y, z to x, z, −y."""
Y_UP_TO_Z_UP = np.ascontiguousarray(Z_UP_TO_Y_UP.T)
