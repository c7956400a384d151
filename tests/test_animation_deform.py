"""Gaussians that follow a face mesh, and rigs as files."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic_rig import make_rig

from facelift_core.animation import SHAPES, deform, deformed_vertices
from facelift_core.animation.files import load_rig, save_rig
from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.transforms import rotation_matrices, transform


def covariances(splats) -> np.ndarray:
    axes = rotation_matrices(splats.rotations) * np.exp(splats.log_scales.astype(np.float64))[:, None]
    return axes @ axes.transpose(0, 2, 1)


def test_at_rest_nothing_moves():
    rig = make_rig()
    still = deform(rig, rig.mesh.vertices)
    np.testing.assert_allclose(still.positions, rig.gaussians.positions, atol=1e-6)
    np.testing.assert_allclose(covariances(still), covariances(rig.gaussians), atol=1e-8)


def test_gaussians_turn_and_move_with_the_whole_mesh():
    rig = make_rig()
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = Rotation.from_euler("xyz", [20, -50, 130], degrees=True).as_matrix(), [0.3, -1, 2]
    moved = deform(rig, (rig.mesh.vertices @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32))
    expected = transform(rig.gaussians, matrix)
    np.testing.assert_allclose(moved.positions, expected.positions, atol=2e-6)
    np.testing.assert_allclose(covariances(moved), covariances(expected), atol=1e-8)


def test_gaussians_stretch_with_the_skin():
    rig = make_rig()
    along_axes = np.tile(np.float32([1, 0, 0, 0]), (len(rig.gaussians), 1))
    scales = np.full_like(rig.gaussians.log_scales, np.log(0.01))
    round_ones = replace(rig.gaussians, log_scales=scales, rotations=along_axes)
    moved = deform(replace(rig, gaussians=round_ones), rig.mesh.vertices * np.float32([2, 1, 1]))
    widths = np.sqrt(np.diagonal(covariances(moved), axis1=1, axis2=2))
    assert np.median(widths[:, 0]) > 0.018  # the sheet is nearly at right angles to y, so x is in it
    assert np.median(widths[:, 2]) < 0.0115


def test_shapes_add_up():
    mesh = make_rig().mesh
    weights = np.zeros(len(SHAPES), np.float32)
    weights[3], weights[10] = 0.5, 1.0
    expected = mesh.vertices + 0.5 * mesh.shapes[3] + mesh.shapes[10]
    np.testing.assert_allclose(deformed_vertices(mesh, weights), expected, atol=1e-6)


def test_a_rig_comes_back_from_its_file(tmp_path):
    rig = make_rig()
    save_rig(rig, tmp_path / "rig.npz")
    again = load_rig(tmp_path / "rig.npz")
    np.testing.assert_array_equal(again.gaussians.rotations, rig.gaussians.rotations)
    np.testing.assert_array_equal(again.mesh.shapes, rig.mesh.shapes)
    np.testing.assert_array_equal(again.mesh.parts["skin"], rig.mesh.parts["skin"])
    np.testing.assert_array_equal(again.binding.corners, rig.binding.corners)


@pytest.mark.parametrize("damage", ["cut", "index", "shape", "text"])
def test_a_damaged_rig_is_refused_in_a_sentence(tmp_path, damage):
    rig, path = make_rig(), tmp_path / "rig.npz"
    if damage == "index":
        rig.binding.corners[5, 1] = 10_000
    if damage == "shape":
        rig = replace(rig, mesh=replace(rig.mesh, shapes=rig.mesh.shapes[:3]))
    save_rig(rig, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    if damage == "text":
        path.write_text("not a rig")
    with pytest.raises(FaceLiftError, match="make the rig again"):
        load_rig(path)
