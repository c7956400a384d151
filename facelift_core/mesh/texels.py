"""Which pixels of a picture lie on which triangle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Texels:
    """The pixels of the texture that lie on the mesh.

    Attributes:
        index: (N,) row · size + column; the first row is the top of the picture.
        face: (N,) face.
        shares: (N, 3) float32 barycentric coordinates.
    """

    index: np.ndarray
    face: np.ndarray
    shares: np.ndarray

    def interpolate(self, corners: np.ndarray) -> np.ndarray:
        """(N, C) from values at the (F, 3, C) corners of the faces."""
        return np.einsum("nk,nkc->nc", self.shares, corners[self.face])


def texels_of(corner_uvs: np.ndarray, size: int) -> Texels:
    """The pixels whose centers lie in a face's (3, 2) texture coordinates."""
    corners = corner_uvs.astype(np.float64) * [size, -size] + [0, size]
    parts = list(_covered(corners, size))
    index, face, shares = (np.concatenate(field) for field in zip(*parts, strict=True))
    return Texels(index, face, shares)


def _covered(corners: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Index, face and barycentric coordinates of the pixels in (F, 3, 2) triangles, for some of these at a time."""
    low = np.ceil(corners.min(axis=1) - 0.5).clip(0, size - 1).astype(int)
    high = np.floor(corners.max(axis=1) - 0.5).clip(-1, size - 1).astype(int)
    extent = (high - low + 1).clip(0)
    counts = extent.prod(axis=1)
    a, b, c = corners.transpose(1, 0, 2)
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    counts[np.abs(area) < 1e-9] = 0
    ends = counts.cumsum()
    cuts = np.searchsorted(ends, np.arange(_AT_ONCE, ends[-1] + _AT_ONCE, _AT_ONCE))
    first = 0
    for last in np.unique(np.minimum(cuts + 1, len(counts))):
        face = np.repeat(np.arange(first, last), counts[first:last])
        within = np.arange(len(face)) - np.repeat(ends[first:last] - counts[first:last] - ends[first] + counts[first],
                                                  counts[first:last])  # fmt: skip
        column = low[face, 0] + within % extent[face, 0].clip(1)
        row = low[face, 1] + within // extent[face, 0].clip(1)
        x, y = column + 0.5, row + 0.5
        pa, pb, pc = a[face], b[face], c[face]
        wa = ((pb[:, 0] - x) * (pc[:, 1] - y) - (pb[:, 1] - y) * (pc[:, 0] - x)) / area[face]
        wb = ((pc[:, 0] - x) * (pa[:, 1] - y) - (pc[:, 1] - y) * (pa[:, 0] - x)) / area[face]
        shares = np.stack([wa, wb, 1 - wa - wb], axis=1)
        inside = (shares >= -1e-9).all(axis=1)
        yield (row * size + column)[inside], face[inside], shares[inside].astype(np.float32)
        first = last
