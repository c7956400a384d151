"""The inside of the mouth: what of it would show, and where its colors come from, on balls of Gaussians."""

from __future__ import annotations

import numpy as np
import torch

import facelift_core as fl
from facelift_core.animation.mouth import _before_sides, _on_head, _shows_beside
from facelift_core.animation.views import look
from facelift_core.gaussians.arrays import SplatArrays

RADIUS = 0.6


def ball(hole: bool = False) -> fl.Gaussians:
    """A closed ball, or one with a hole on the left side of the head, +x."""
    number = np.arange(6000)
    z, angle = 1 - 2 * (number + 0.5) / len(number), number * np.pi * (3 - 5**0.5)
    ring = np.sqrt(1 - z**2)
    points = RADIUS * np.stack([ring * np.cos(angle), ring * np.sin(angle), z], -1)
    if hole:
        points = points[~((points[:, 0] > 0) & (np.linalg.norm(points[:, 1:], axis=1) < 0.25))]
    return dots(points, 0.03)


def dots(points: np.ndarray, size: float) -> fl.Gaussians:
    count = len(points)
    return fl.Gaussians(
        torch.tensor(points, dtype=torch.float32),
        torch.zeros(count, 1, 3),
        torch.full((count, 3), float(np.log(size))),
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        torch.full((count,), 6.0),
    )


def splats(points: list[list[float]]) -> SplatArrays:
    return SplatArrays.from_gaussians(dots(np.array(points), 0.01))


def test_what_shows_through_a_thin_cheek_is_found():
    inner = splats([[0.2, 0, 0], [0.0, 0, 0], [0.2, 0, 0.45]])  # behind the hole, near and far, and beside it
    assert _shows_beside(inner, ball(hole=True)).tolist() == [True, True, False]
    assert not _shows_beside(inner, ball()).any()


def test_more_skin_stays_below_the_sides_of_the_head():
    some = splats([[0.3, -0.3, 0], [0.7, 0, 0], [0.0, -0.75, 0]])
    assert _before_sides(some, ball()).tolist() == [False, True, True]


def test_pixels_beside_the_head_give_no_colors():
    front = look(ball(), 0.0, 256)
    points = np.array([[0.0, -RADIUS, 0.0], [RADIUS + 0.06, 0.0, 0.0], [0.0, 0.0, 0.0], [0.3, -0.52, 0.0]])
    assert _on_head(points, front).tolist() == [True, False, False, True]
