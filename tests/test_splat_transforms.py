"""Gaussians moved by affine transforms, in NumPy as Blender has it, against the renderer's formulas in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.files import SplatArrays
from facelift_core.gaussians.transforms import basis, rotate_sh, rotation_matrices, transform
from facelift_core.rendering import projection, spherical_harmonics


def splats(count: int = 50, degree: int = 3) -> SplatArrays:
    draw = np.random.default_rng(0)
    shapes = ((count, 3), (count, (degree + 1) ** 2, 3), (count, 3), (count, 4), (count,))
    return SplatArrays(*(draw.normal(size=shape).astype(np.float32) for shape in shapes))


def covariances(s: SplatArrays) -> np.ndarray:
    axes = rotation_matrices(s.rotations) * np.exp(s.log_scales.astype(np.float64))[:, None, :]
    return axes @ axes.transpose(0, 2, 1)


def turn(seed: int = 0) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def matrix(linear: np.ndarray) -> np.ndarray:
    m = np.eye(4)
    m[:3, :3], m[:3, 3] = linear, (0.3, -2.0, 1.0)
    return m


def test_rotations_are_those_of_the_renderer():
    q = splats().rotations
    expected = projection.rotation_matrices(torch.from_numpy(q).double()).numpy()
    np.testing.assert_allclose(rotation_matrices(q), expected, atol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_basis_is_that_of_the_renderer(degree):
    directions = np.random.default_rng(1).normal(size=(40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    expected = spherical_harmonics.basis(torch.from_numpy(directions), degree).numpy()
    np.testing.assert_allclose(basis(directions, degree), expected, atol=1e-12)


@pytest.mark.parametrize(
    "linear",
    [turn(), 0.2 * turn(1), turn(2) @ np.diag([2.0, 0.5, 1.0]), np.diag([-1.0, 1.0, 1.0]), -0.7 * turn(3),
     turn(4) @ np.diag([1.0, 3.0, 0.1]) @ turn(5)],
    ids=["rotation", "uniform", "uneven", "mirror", "point reflection", "shear"],
)  # fmt: skip
def test_covariances_follow_any_matrix(linear):
    before = splats()
    after = transform(before, matrix(linear))
    expected = linear @ covariances(before) @ linear.T
    error = np.abs(covariances(after) - expected).max(axis=(1, 2)) / np.abs(expected).max(axis=(1, 2))
    assert error.max() < 1e-4
    np.testing.assert_allclose(after.positions, before.positions @ linear.T + [0.3, -2.0, 1.0], atol=1e-5)
    assert after.sh.dtype == after.rotations.dtype == after.log_scales.dtype == np.float32


def test_nothing_changes_without_a_transform():
    before = splats()
    assert transform(before, np.eye(4)) is before


@pytest.mark.parametrize("orthogonal", [turn(6), np.diag([1.0, 1.0, -1.0]) @ turn(7)], ids=["rotation", "mirror"])
def test_colors_turn_with_the_object(orthogonal):
    before = splats()
    directions = np.random.default_rng(2).normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen_before = np.einsum("nk,nkc->nc", basis(directions, 3), before.sh)
    seen_after = np.einsum("nk,nkc->nc", basis(directions @ orthogonal.T, 3), rotate_sh(before.sh, orthogonal))
    np.testing.assert_allclose(seen_after, seen_before, atol=1e-5)


def test_flat_objects_are_refused():
    with pytest.raises(FaceLiftError, match="scaled to zero"):
        transform(splats(), matrix(np.diag([1.0, 0.0, 1.0])))
