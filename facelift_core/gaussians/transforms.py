"""Affine transforms of Gaussians, in NumPy."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from ..errors import FaceLiftError
from .arrays import SplatArrays


def transform(splats: SplatArrays, matrix: np.ndarray) -> SplatArrays:
    """Transform `splats` by `matrix`.

    Positions and shapes are exact for any matrix. View-dependent colors are rotated by the nearest orthogonal matrix,
    which is exact for rotation, uniform scale and reflection.

    Args:
        matrix: (4, 4) from object to world.

    Raises:
        FaceLiftError: the matrix is singular.
    """
    matrix = np.asarray(matrix, np.float64)
    linear = matrix[:3, :3]
    left, stretch, right = np.linalg.svd(linear)
    if stretch[2] < 1e-12 * max(stretch[0], 1e-30):
        raise FaceLiftError("The object is scaled to zero along an axis; give it a nonzero scale first.")
    orthogonal = left @ right
    if np.array_equal(matrix, np.eye(4)):
        return splats
    if np.allclose(stretch, stretch.mean(), rtol=1e-6) and np.linalg.det(linear) > 0:
        rotations = _times(quaternions(orthogonal[None])[0], splats.rotations.astype(np.float64))
        log_scales = splats.log_scales + np.log(stretch.mean())
    else:
        scales = np.exp(splats.log_scales.astype(np.float64))
        axes = linear @ (rotation_matrices(splats.rotations) * scales[:, None, :])
        variances, turns = np.linalg.eigh(axes @ axes.transpose(0, 2, 1))
        turns[np.linalg.det(turns) < 0] *= -1.0
        rotations = quaternions(turns)
        log_scales = 0.5 * np.log(np.maximum(variances, 1e-38))
    return replace(
        splats,
        positions=(splats.positions @ linear.T + matrix[:3, 3]).astype(np.float32),
        sh=rotate_sh(splats.sh, orthogonal),
        log_scales=log_scales.astype(np.float32),
        rotations=rotations.astype(np.float32),
    )


def rotate_sh(sh: np.ndarray, orthogonal: np.ndarray) -> np.ndarray:
    """Rotate or reflect (N, K, 3) spherical harmonics by a (3, 3) matrix O: the result at O·d equals `sh` at d."""
    degree = int(sh.shape[1] ** 0.5) - 1
    if degree == 0:
        return sh
    directions = _directions()
    # Solve Σ f'_k Y_k(d) = Σ f_k Y_k(Oᵀ d) in more directions than features; the solution is exact.
    mapping = np.linalg.pinv(basis(directions, degree)) @ basis(directions @ orthogonal, degree)
    mapping[0], mapping[:, 0] = 0.0, 0.0
    mapping[0, 0] = 1.0
    return np.einsum("jk,nkc->njc", mapping, sh).astype(np.float32)


def basis(directions: np.ndarray, degree: int) -> np.ndarray:
    """(N, (degree + 1)²) real spherical harmonics at (N, 3) unit vectors, in the order of 3D Gaussian Splatting."""
    x, y, z = directions.T
    values = [np.full_like(x, 0.28209479177387814)]
    if degree >= 1:
        values += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree >= 2:
        c = 1.0925484305920792
        values += [c * x * y, -c * y * z, 0.31539156525252005 * (3 * z * z - 1), -c * x * z, 0.5 * c * (x * x - y * y)]
    if degree >= 3:
        values += [
            -0.5900435899266435 * y * (3 * x * x - y * y),
            2.890611442640554 * x * y * z,
            -0.4570457994644658 * y * (5 * z * z - 1),
            0.3731763325901154 * z * (5 * z * z - 3),
            -0.4570457994644658 * x * (5 * z * z - 1),
            1.445305721320277 * z * (x * x - y * y),
            -0.5900435899266435 * x * (x * x - 3 * y * y),
        ]
    return np.stack(values, axis=1)


@cache
def _directions() -> np.ndarray:
    """(64, 3) unit vectors, evenly spread over the sphere."""
    turn = np.arange(64) * np.pi * (3.0 - 5.0**0.5)
    z = (np.arange(64) + 0.5) / 32.0 - 1.0
    ring = np.sqrt(1.0 - z * z)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """(N, 3, 3) float64 rotations from (N, 4) quaternions w, x, y, z of any length."""
    q = quaternions.astype(np.float64)
    norm = np.linalg.norm(q, axis=1, keepdims=True)
    w, x, y, z = np.where(norm > 0, q / np.where(norm > 0, norm, 1), [1.0, 0.0, 0.0, 0.0]).T
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, axis=1).reshape(-1, 3, 3)


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """(N, 4) quaternions w, x, y, z from (N, 3, 3) rotations, by Shepperd's method."""
    m = matrices
    trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    squares = np.stack([trace, m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], axis=1)
    d21, d02, d10 = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    s01, s02, s12 = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    one = 1.0 + trace
    choices = np.stack(
        [
            np.stack([one, d21, d02, d10], axis=1),
            np.stack([d21, 1 + 2 * m[:, 0, 0] - trace, s01, s02], axis=1),
            np.stack([d02, s01, 1 + 2 * m[:, 1, 1] - trace, s12], axis=1),
            np.stack([d10, s02, s12, 1 + 2 * m[:, 2, 2] - trace], axis=1),
        ],
        axis=1,
    )
    chosen = choices[np.arange(len(m)), squares.argmax(axis=1)]
    return chosen / np.linalg.norm(chosen, axis=1, keepdims=True)


def _times(turn: np.ndarray, quaternions: np.ndarray) -> np.ndarray:
    """Hamilton product of one (4,) quaternion with (N, 4) quaternions."""
    w, x, y, z = turn
    a, b, c, d = quaternions.T
    return np.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        axis=1,
    )
