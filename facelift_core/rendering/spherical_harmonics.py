"""View-dependent color: real spherical harmonics up to degree 3, with the order and signs of 3D Gaussian Splatting."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gaussians.tensors import SH_C0

_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
_C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


def basis(directions: Tensor, degree: int) -> Tensor:
    """Evaluate the real basis functions at unit vectors.

    Args:
        directions: (N, 3) unit vectors.
        degree: 0 to 3.

    Returns:
        (N, (degree + 1)²) values, ordered by band l, and by m = −l … l within a band.
    """
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        values += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        values += [
            _C2[0] * x * y,
            -_C2[0] * y * z,
            _C2[1] * (2 * zz - xx - yy),
            -_C2[0] * x * z,
            _C2[2] * (xx - yy),
        ]
    if degree >= 3:
        values += [
            -_C3[0] * y * (3 * xx - yy),
            _C3[1] * x * y * z,
            -_C3[2] * y * (4 * zz - xx - yy),
            _C3[3] * z * (2 * zz - 3 * xx - 3 * yy),
            -_C3[2] * x * (4 * zz - xx - yy),
            _C3[4] * z * (xx - yy),
            -_C3[0] * x * (xx - 3 * yy),
        ]
    return torch.stack(values, dim=-1)


def view_colors(sh: Tensor, directions: Tensor) -> Tensor:
    """Evaluate colors as seen along `directions`.

    Args:
        sh: (N, K, 3) features, K = (degree + 1)².
        directions: (N, 3) unit vectors from the camera to the Gaussians.

    Returns:
        (N, 3) display-referred sRGB, .5 + Σ features · basis, clamped to at least 0 but not from above.
    """
    if sh.shape[1] == 1:
        colors = SH_C0 * sh[:, 0]
    else:
        degree = int(sh.shape[1] ** 0.5) - 1
        colors = torch.einsum("nk,nkc->nc", basis(directions, degree), sh)
    return (colors + 0.5).clamp(min=0.0)
