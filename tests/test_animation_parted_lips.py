"""Where lips part: the picture corrects the mesh, on a flat face with a painted mouth."""

from dataclasses import replace

import numpy as np
import pytest

from facelift_core.animation.front import SIDE, FrontView
from facelift_core.animation.mouth import ENAMEL, SKIN_TINT, enamel
from facelift_core.animation.parted_lips import find_opening, sort_by_lips, with_lips_on_picture
from facelift_core.animation.rig import FaceMesh
from facelift_core.animation.samples import HIDDEN, front_depth, front_pixels, front_quads
from facelift_core.gaussians.arrays import SH_C0, SplatArrays
from facelift_core.rendering import cameras

LIP, TEETH = (0.75, 0.45, 0.42), (0.90, 0.90, 0.84)
HALF = np.array([70.0, 22.0])
"""Half width and half height of the painted opening in pixels, in the middle of the view."""
OFF = 5
"""Pixels by which the mesh's opening is lower and higher than the painted one."""


def opening_at(pixels: np.ndarray, half: np.ndarray) -> np.ndarray:
    return (((pixels - SIDE / 2) / half) ** 2).sum(-1) < 1


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    """A wall with an elliptic hole that its vertices run around, before a wall of teeth."""
    rings = np.linspace(1, 4, 13)
    angles = np.linspace(0, 2 * np.pi, 65)[:-1]
    half = HALF - [0, OFF]
    ring = np.stack([np.cos(angles), -np.sin(angles)], -1) * half
    pixels = np.concatenate([ring + (k - 1) * 40 * ring / np.linalg.norm(ring, axis=1)[:, None] for k in rings])
    unit = (cameras.RADIUS - 0.5) / float(cameras.intrinsics(SIDE)[0])
    wall = np.stack([pixels[:, 0] * unit, np.full(len(pixels), -0.5), -pixels[:, 1] * unit], -1)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * HALF * 1.5 * unit
    teeth = np.stack([corners[:, 0], np.full(4, -0.4), corners[:, 1]], -1)
    vertices = np.concatenate([wall, teeth]).astype(np.float32)
    number = np.arange(len(wall)).reshape(len(rings), -1)
    after = np.roll(number, -1, 1)
    quads = np.stack([number[:-1], number[1:], after[1:], after[:-1]], -1).reshape(-1, 4)
    own = len(wall) + np.arange(4)
    quads = np.concatenate([quads, own[None]]).astype(np.int32)
    skin = np.arange(len(wall), dtype=np.int32)
    parts = {"skin": skin, "outside": skin, "lips": skin[: 4 * len(angles)], "teeth": own.astype(np.int32),
             "tongue": np.empty(0, np.int32), "face": skin}  # fmt: skip
    nothing = np.zeros_like(vertices)
    return FaceMesh(vertices, quads, None, None, nothing, None, None, None, parts)


@pytest.fixture(scope="module")
def view(mesh) -> FrontView:
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1) + 0.5
    picture = np.where(opening_at(grid, HALF)[..., None], TEETH, LIP).astype(np.float32)
    return FrontView(picture, front_quads(mesh, SIDE), 1.0)


def test_the_edges_of_lips_move_to_the_picture(mesh, view):
    before = find_opening(mesh, view)
    assert before.of_picture.sum() > 1.2 * before.of_mesh.sum()
    moved = with_lips_on_picture(mesh, view)
    after = find_opening(moved, replace(view, quads=front_quads(moved, SIDE)))
    missing = [(of.of_mesh ^ of.of_picture).sum() for of in (before, after)]
    assert missing[1] < 0.3 * missing[0]
    assert np.abs(moved.vertices - mesh.vertices)[:, 1].max() == 0  # across the view only


def test_without_expression_the_lips_stay_where_they_were(mesh, view):
    moved = with_lips_on_picture(mesh, view)
    assert np.allclose(moved.vertices + moved.neutral, mesh.vertices + mesh.neutral, atol=1e-6)


def test_colors_at_the_edge_tell_lips_from_teeth(mesh, view):
    rng = np.random.default_rng(0)
    pixels = SIDE / 2 + rng.uniform(-1.3, 1.3, (3000, 2)) * HALF
    unit = (cameras.RADIUS - 0.5) / float(cameras.intrinsics(SIDE)[0])
    off = (pixels - SIDE / 2) * unit
    positions = np.stack([off[:, 0], np.full(len(off), -0.5), -off[:, 1]], -1).astype(np.float32)
    inside = opening_at(pixels, HALF)
    sh = ((np.where(inside[:, None], TEETH, LIP) - 0.5) / SH_C0)[:, None].astype(np.float32)
    count = len(pixels)
    gaussians = SplatArrays(
        positions, sh, np.full((count, 3), -6, np.float32), np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        np.full(count, 4, np.float32),
    )  # fmt: skip
    column, row = np.floor(front_pixels(positions, SIDE)[0]).astype(int).T
    shown = view.quads[row, column].astype(np.int64)
    teeth = len(mesh.quads) - 1
    assert ((shown == teeth) != inside).mean() > 0.05
    sort_by_lips(shown, gaussians, mesh, view)
    assert ((shown == teeth) != inside).mean() < 0.01
    assert not (shown[~inside] == teeth).any() and not (shown[inside] == HIDDEN).any()


@pytest.mark.parametrize("teeth", [(0.90, 0.90, 0.84), (0.80, 0.74, 0.60)])
def test_teeth_have_the_color_of_those_in_the_photo(mesh, view, teeth):
    painted = np.where((view.picture == np.float32(TEETH)).all(-1)[..., None], np.float32(teeth), view.picture)
    assert enamel(mesh, replace(view, picture=painted, light=0.9)) == pytest.approx(np.array(teeth) / 0.9, abs=1e-5)


def test_hidden_teeth_take_the_tint_of_the_light(mesh, view):
    closed = np.where(view.quads == len(mesh.quads) - 1, 0, view.quads)
    red, _, blue = enamel(mesh, replace(view, picture=np.full_like(view.picture, (0.9, 0.5, 0.4)), quads=closed))
    even = np.array(SKIN_TINT, np.float32) / 2
    assert red > ENAMEL[0] and blue < ENAMEL[2]
    white_light = replace(view, picture=np.broadcast_to(even, view.picture.shape), quads=closed)
    assert enamel(mesh, white_light) == pytest.approx(np.array(ENAMEL), abs=1e-5)


def test_almost_closed_lips_are_left_to_the_mesh(mesh, view):
    closed = replace(view, quads=np.where(view.quads == len(mesh.quads) - 1, 0, view.quads))
    assert find_opening(mesh, closed) is None
    assert with_lips_on_picture(mesh, closed) is mesh


def test_the_depth_of_a_part_of_the_mesh(mesh):
    depth = front_depth(mesh, np.array([len(mesh.quads) - 1]), SIDE)
    assert depth[SIDE // 2, SIDE // 2] == pytest.approx(cameras.RADIUS - 0.4)
    assert np.isinf(depth[0, 0])
