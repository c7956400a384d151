"""The face template, and its fit to heads."""

import hashlib

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from facelift_core.align.landmarks import COUNT
from facelift_core.animation import SHAPES
from facelift_core.animation.closing import BLINKS, fit_lids, lids_in_photo, margins_of_lids
from facelift_core.animation.fit import _local_maps, fit_face
from facelift_core.animation.rig import BONES
from facelift_core.animation.template import FILE, SHA256, joints_of, landmarks_of, load_template
from facelift_core.errors import Cancelled, FaceLiftError
from facelift_core.gaussians.tensors import Gaussians
from facelift_core.training.face_template import anatomy_vertices
from facelift_core.training.heads.anatomy import load_base_mesh
from facelift_core.training.heads.gaussians import surface_gaussians
from facelift_core.training.heads.scene import make_head


def test_template_is_complete():
    template = load_template()
    vertices = len(template.vertices)
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == SHA256
    assert SHA256 in FILE.with_name("README.md").read_text(encoding="utf-8")
    assert template.shapes.shape == (len(SHAPES), vertices, 3) and template.shapes.dtype == np.float32
    assert template.identities.shape[1:] == (vertices, 3) and template.identities.dtype == np.float32
    assert template.quads.dtype == np.int32 and set(template.quads.ravel()) == set(range(vertices))
    assert template.uvs.shape == (len(template.quads), 4, 2) and 0 <= template.uvs.min() <= template.uvs.max() <= 1
    assert template.bone_weights.shape == (len(BONES), vertices)
    assert template.bone_weights.min() >= 0 and template.bone_weights.sum(0).max() <= 1.001
    moves = np.abs(template.shapes).max((1, 2))
    assert moves.min() > 0.001, SHAPES[int(moves.argmin())]
    assert np.abs(template.shapes[SHAPES.index("tongueOut"), template.parts["tongue"]]).max() > 0.01


def test_jaw_and_eyes_have_their_bones():
    template = load_template()
    jaw, eyes = template.bone_weights[BONES.index("jaw")], template.bone_weights[-2:]
    teeth = template.parts["teeth"]
    assert sorted(np.round(jaw[teeth], 1)) == [0.0] * (len(teeth) // 2) + [1.0] * (len(teeth) // 2)
    assert np.median(jaw[template.parts["tongue"]]) > 0.8
    assert np.array_equal(np.flatnonzero(eyes.any(0)), np.sort(template.parts["eyes"]))
    joints = joints_of(template, template.vertices)
    assert joints[BONES.index("eye.L"), 0, 0] > 0.02 > -0.02 > joints[BONES.index("eye.R"), 0, 0]


def test_landmarks_lie_symmetrically():
    template = load_template()
    points = landmarks_of(template, template.vertices)
    assert points.shape == (COUNT, 3)
    assert np.allclose(template.landmark_shares.sum(1), 1, atol=1e-5) and template.landmark_shares.min() >= 0
    mirrored = points * [-1, 1, 1]
    nearest = np.linalg.norm(points[:, None] - mirrored, axis=2).min(1)
    assert np.median(nearest) < 0.001 and np.percentile(nearest, 95) < 0.003


def test_shapes_keep_their_strength_on_an_uneven_surface():
    template = load_template()
    turn = Rotation.from_euler("zx", [20, 10], degrees=True).as_matrix()
    rng = np.random.default_rng(0)
    even = template.vertices @ (5 * turn).T
    assert np.allclose(_local_maps(template, template.vertices, even), 5 * turn, atol=1e-3)
    uneven = even + rng.normal(size=even.shape) * 0.003  # 0.6 mm: small quads turn in all directions
    maps = _local_maps(template, template.vertices, uneven)[template.parts["face"]]
    size = np.cbrt(np.linalg.det(maps)) / 5
    assert abs(np.median(size) - 1) < 0.01 and np.abs(size - 1).max() < 0.15


def _without_face():
    rng = np.random.default_rng(0)
    return Gaussians(
        torch.tensor(rng.normal(size=(500, 3)) * 0.2, dtype=torch.float32),
        torch.zeros(500, 1, 3),
        torch.full((500, 3), -4.0),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(500, 1),
        torch.full((500,), 4.0),
    )


def test_head_without_face_is_refused():
    with pytest.raises(FaceLiftError, match="No face was found"):
        fit_face(_without_face())


def test_known_head_is_recovered():
    seed = 1_000_002
    head = make_head(seed)
    true = head.vertices[anatomy_vertices(load_base_mesh())]
    reports = []
    mesh = fit_face(surface_gaussians(head), progress=lambda *report: reports.append(report))
    template = load_template()
    face, eyes = template.parts["face"], template.parts["eyes"]
    unit = 230 / np.ptp(true[template.parts["outside"]][template.turn[template.parts["outside"]] > 0.99][:, 2])
    assert np.linalg.norm((mesh.vertices - true)[face], axis=1).mean() * unit < 3
    assert np.linalg.norm((mesh.vertices - true)[eyes], axis=1).mean() * unit < 4.5
    assert reports[0][1] == 0 and {stage for stage, *_ in reports} == {"face"}

    assert mesh.shapes.shape == (len(SHAPES), len(true), 3) and mesh.vertices.dtype == np.float32
    assert 0 <= mesh.expression.min() <= mesh.expression.max() <= 1
    _lids_close(template, mesh)
    _shapes_are_true(template, mesh, true)
    opened = mesh.shapes[SHAPES.index("jawOpen")][template.parts["teeth"]]
    assert opened[:, 2].min() < -0.1  # the lower teeth go down in the world, too
    # Teeth and eyes stay behind the skin in front of them.
    assert mesh.vertices[template.parts["teeth"], 1].min() > mesh.vertices[template.parts["lips"], 1].min()
    assert mesh.vertices[eyes, 1].min() > mesh.vertices[template.parts["eyelids"], 1].min() - 0.01


def _shapes_are_true(template, mesh, true):
    """Each shape moves the face as it moves the true one, which differs by a turn and a scaling only."""
    face = template.parts["face"]
    own, other = (points[face] - points[face].mean(0) for points in (true, template.vertices))
    turn, _ = Rotation.align_vectors(own, other)
    size = np.linalg.norm(own) / np.linalg.norm(other)
    for name in ("mouthPucker", "mouthFrownLeft", "mouthSmileRight", "jawOpen", "browInnerUp"):
        index = SHAPES.index(name)
        found, aim = mesh.shapes[index, face].ravel(), (size * turn.apply(template.shapes[index, face])).ravel()
        assert found @ aim / np.linalg.norm(found) / np.linalg.norm(aim) > 0.98, name
        assert 0.9 < found @ aim / (aim @ aim) < 1.1, name


def _lids_close(template, mesh):
    """The eyes can be seen with a neutral face, and not with a full blink."""
    neutral = mesh.vertices + mesh.neutral
    closed = neutral + mesh.shapes[SHAPES.index("eyeBlinkLeft")] + mesh.shapes[SHAPES.index("eyeBlinkRight")]
    triangles = template.quads[np.isin(template.quads, template.parts["outside"]).all(1)][:, [0, 1, 2, 0, 2, 3]]
    triangles = triangles.reshape(-1, 3)
    for vertices, hidden in ((neutral, 0.9), (closed, 0.98)):
        eyes = vertices[template.parts["eyes"]]
        eyes = eyes[eyes[:, 1] < np.quantile(eyes[:, 1], 0.3)]
        covered = _in_front(vertices[triangles], eyes).mean()
        assert (covered > hidden) == (vertices is closed), covered


def _in_front(triangles, points):
    """(n,) whether a triangle hides the point from the front (orthographically, along y)."""
    a, b, c = (triangles[:, k][:, [0, 2]] for k in range(3))
    matrix = np.linalg.inv(np.stack([b - a, c - a], -1) + 1e-12 * np.eye(2))
    shares = np.einsum("tij,ntj->nti", matrix, points[:, None, [0, 2]] - a)
    shares = np.concatenate([1 - shares.sum(-1, keepdims=True), shares], -1)
    depth = np.einsum("ntk,tk->nt", shares, triangles[..., 1])
    return ((shares.min(-1) >= 0) & (depth < points[:, 1:2])).any(1)


def test_fit_can_be_cancelled():
    with pytest.raises(Cancelled):
        fit_face(_without_face(), cancelled=lambda: True)


@pytest.mark.parametrize("photo", [{}, {"eyeBlink": 0.3}, {"eyeSquint": 0.8}, {"eyeWide": 0.5}])
def test_lids_meet_from_whatever_they_do_in_the_photo(photo):
    template = load_template()
    shapes = fit_lids(template, template.vertices, template.shapes, 1.0)
    vertices = template.vertices.copy()
    for name, strength in photo.items():
        vertices += strength * sum(shapes[SHAPES.index(name + side)] for side in ("Left", "Right"))
    closed = lids_in_photo(template, vertices, template.vertices, shapes)
    for name in BLINKS:
        index = SHAPES.index(name)
        upper, lower = margins_of_lids(template, name)
        down = shapes[index][upper].mean(0)
        open_, left, shut = (
            ((at[lower] - at[upper]) @ down).mean()
            for at in (vertices, vertices + (1 - closed[index]) * shapes[index], template.vertices + shapes[index])
        )
        assert abs(left - shut) < (0.02 if "eyeWide" not in photo else 0.15) * open_  # a strength ends at 1
