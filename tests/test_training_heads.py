"""Synthetic heads: native renderer against plain formulas, people, placement, shards and the command."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from facelift_core.align.mtcnn import detect_faces
from facelift_core.compute import native
from facelift_core.compute.native import pointer
from facelift_core.errors import FaceLiftError
from facelift_core.rendering import cameras
from facelift_core.training.heads import clothes, command, dataset, folders, people, scene
from facelift_core.training.heads.accessory_meshes import strip, tube
from facelift_core.training.heads.anatomy import load_anatomy
from facelift_core.training.heads.appearance import WET, paint
from facelift_core.training.heads.lighting import Lighting, irradiance
from facelift_core.training.heads.people import _phenotype_coefficients, sample_expression, sample_person
from facelift_core.training.heads.render import on_white, render, sample_cameras

SIX = cameras.six_views().numpy().astype(np.float32)


def sphere(radius: float, center: tuple[float, float, float] = (0, 0, 0), rows: int = 64):
    """A UV sphere that faces outwards: (V, 3) float32, (T, 3) int32."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, rows), np.linspace(0, 2 * np.pi, 2 * rows), indexing="ij")
    unit = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    index = np.arange(rows * 2 * rows).reshape(rows, 2 * rows)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    vertices = unit.reshape(-1, 3) * radius + np.array(center)
    return np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(triangles, np.int32)


def mesh_head(vertices, triangles, colors) -> scene.Head:
    """A head-shaped container around any mesh, without highlights."""
    none = Lighting(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), 0)
    return scene.Head(
        vertices,
        scene.vertex_normals(vertices, triangles),
        np.ascontiguousarray(colors, np.float32),
        np.zeros(len(vertices), np.float32),
        triangles,
        none,
        np.zeros((0, len(vertices)), np.float32),
        np.ascontiguousarray(colors, np.float32),
    )


# --- Native code ----------------------------------------------------------------------------------------------------


def test_native_code_is_compiled_once_per_source(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.load.cache_clear()
    try:
        native.load("zbuffer")
        built = list((tmp_path / "facelift" / "native").iterdir())
        assert [path.suffix for path in built] == [".so"]
        native.load.cache_clear()
        monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("compiled again"))
        native.load("zbuffer")
    finally:
        native.load.cache_clear()


def test_native_code_says_what_is_missing(tmp_path, monkeypatch):
    with pytest.raises(FaceLiftError, match="nowhere"):
        native.load("nowhere")
    broken = tmp_path / "broken.cpp"
    broken.write_text("int main( {")
    with pytest.raises(FaceLiftError, match=r"could not compile broken\.cpp"):
        native._compile(native.compiler(), broken, tmp_path / "broken.so")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.cpp"]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(FaceLiftError, match=r"compiler.*install g\+\+"):
        native.compiler()


def test_pointer_refuses_what_c_would_misread():
    with pytest.raises(TypeError, match="float32"):
        pointer(np.zeros(3), np.float32)
    with pytest.raises(TypeError, match="contiguous"):
        pointer(np.zeros((4, 4), np.float32)[:, ::2], np.float32)


# --- Renderer -------------------------------------------------------------------------------------------------------


def test_sphere_has_the_depth_and_outline_of_the_formula():
    radius, size = 0.6, 48
    vertices, triangles = sphere(radius)
    views = render(mesh_head(vertices, triangles, np.full_like(vertices, 0.5)), SIX, size)
    fx, _, cx, _ = cameras.intrinsics(size).tolist()
    u, v = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    ray = np.stack([(u - cx) / fx, (v - cx) / fx, np.ones_like(u)], -1)
    b, c = ray[..., 2] * cameras.RADIUS, cameras.RADIUS**2 - radius**2
    root = b**2 - (ray**2).sum(-1) * c
    expected = (b - np.sqrt(np.clip(root, 0, None))) / (ray**2).sum(-1)
    inside, outside = root > 0.08, root < -0.08  # more than a pixel from the outline
    assert inside.sum() > 150 and outside.sum() > 150
    for rgba, depth in zip(views.rgba, views.depth.astype(float), strict=True):
        assert (rgba[inside][:, 3] == 255).all() and (rgba[outside] == 0).all()
        assert (depth[outside] == 0).all()
        assert np.abs(depth - expected)[inside].max() < 0.01
        assert (rgba[inside][:, :3] == 188).all()  # sRGB of linear .5


def test_overlapping_triangles_match_a_loop_over_pixels():
    rng = np.random.default_rng(3)
    size, count = 24, 12
    vertices = rng.uniform(-0.9, 0.9, (3 * count, 3)).astype(np.float32)
    triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    colors = np.repeat(rng.uniform(0.05, 0.95, (count, 3)), 3, 0).astype(np.float32)
    c2w = sample_cameras(rng, 1)[6:]
    views = render(mesh_head(vertices, triangles, colors), c2w, size, supersampling=1)

    camera = np.linalg.inv(c2w[0].astype(np.float64))
    fx, fy, cx, cy = cameras.intrinsics(size).tolist()
    corners = (vertices @ camera[:3, :3].T + camera[:3, 3])[triangles]
    wrong = 0
    for y in range(size):
        for x in range(size):
            ray = np.array([(x + 0.5 - cx) / fx, (y + 0.5 - cy) / fy, 1.0])
            best, face = np.inf, -1
            for t, (p, q, r) in enumerate(corners):
                weights = np.linalg.solve(np.stack([p, q, r], 1), ray)  # ray = Σ w·corner, so the hit is ray / Σ w
                if (weights >= 0).all() and 1 / weights.sum() < best:
                    best, face = 1 / weights.sum(), t
            rgba, depth = views.rgba[0, y, x], float(views.depth[0, y, x])
            if face < 0:
                wrong += rgba[3] != 0
                continue
            linear = colors[3 * face].astype(np.float64)
            linear = np.where(linear < 0.7, linear, 1 - 0.3 * np.exp((0.7 - linear) / 0.3))  # the camera's shoulder
            expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
            wrong += rgba[3] != 255 or abs(depth - best) > 0.004 or np.abs(rgba[:3] - expected).max() > 1
    assert (views.rgba[0, ..., 3] > 0).mean() > 0.2
    assert wrong <= 2  # pixel centers exactly on an edge may fall either way


def test_normals_and_shadows():
    vertices, triangles = sphere(0.5)
    normals = scene.vertex_normals(vertices, triangles)
    poles = np.abs(vertices[:, 2]) > 0.49
    assert np.abs(normals - vertices / 0.5)[~poles].max() < 0.05
    # A small sphere between the light and the large one darkens what lies behind it, and only that.
    small, small_triangles = sphere(0.15, (0, 0, 1.0))
    both = np.concatenate([vertices, small])
    faces = np.concatenate([triangles, small_triangles + len(vertices)])
    up = Lighting(np.array([[0, 0, 1]], np.float32), np.ones((1, 3), np.float32), 1)
    light, visible = irradiance(both, scene.vertex_normals(both, faces), faces, np.zeros(len(both), np.float32), up)
    across = np.hypot(vertices[:, 0], vertices[:, 1])
    top = vertices[:, 2] > 0.3
    body = visible[0, : len(vertices)]
    assert (body[top & (across < 0.09)] == 0).all()
    assert body[top & (across > 0.25) & (across < 0.36)].min() > 0.9  # grazing light fades a little
    assert (body[(vertices[:, 2] < -0.2) & (across < 0.42)] == 0).all()  # the far side lies in its own shadow
    lit = top & (across > 0.25) & (across < 0.36)
    np.testing.assert_allclose(light[: len(vertices)][lit][:, 0], vertices[lit, 2] / 0.5, atol=0.08)


def test_tube_is_closed_around_its_path():
    path = np.stack([np.zeros(9), np.zeros(9), np.linspace(0, 1, 9)], 1)
    vertices, triangles = tube(path, np.full(9, 0.1), 12)
    np.testing.assert_allclose(np.hypot(vertices[:, 0], vertices[:, 1]), 0.1)
    normals = scene.vertex_normals(vertices.astype(np.float32), triangles.astype(np.int32))
    assert ((normals[:, :2] * vertices[:, :2]).sum(1) > 0.05).all()  # outwards
    ring = np.stack([np.cos(np.arange(20) * np.pi / 10), np.sin(np.arange(20) * np.pi / 10), np.zeros(20)], 1)
    _, around = tube(ring, np.full(20, 0.1), 6, closed=True)
    edges = np.sort(np.concatenate([around[:, [0, 1]], around[:, [1, 2]], around[:, [2, 0]]]), 1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # watertight


# --- People ---------------------------------------------------------------------------------------------------------


def test_phenotype_coefficients_equal_those_of_anny():
    from anny.models import phenotype

    anatomy = load_anatomy()
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(0, 1) for name in phenotype.PHENOTYPE_LABELS[:8]}
    ancestry = rng.dirichlet([1, 1, 1])
    labels = [*values, "african", "asian", "caucasian"]
    expected = phenotype.phenotype_blendshape_weights(
        torch.tensor([[*values.values(), *ancestry]], dtype=torch.float64),
        labels,
        phenotype.make_phenotype_anchors(torch.float64),
        torch.from_numpy(anatomy.phenotype_mask).double(),
        extrapolate=False,
    )
    expected = expected[0].numpy() @ anatomy.phenotype_projection
    np.testing.assert_allclose(_phenotype_coefficients(anatomy, values, ancestry), expected, atol=1e-6)


def test_subdivision_keeps_the_surface_and_shares_edges():
    anatomy = load_anatomy()
    assert len(anatomy.coarse) < len(anatomy.template)
    np.testing.assert_array_equal(anatomy.subdivide(anatomy.coarse), anatomy.template)
    for part, triangles in anatomy.triangles.items():
        used = anatomy.template[np.unique(triangles)]
        assert triangles.max() < len(anatomy.template), part
        assert len(np.unique(used, axis=0)) == len(used), part  # no edge was split twice


def test_people_differ_but_stay_people():
    anatomy = load_anatomy()
    people = [sample_person(anatomy, np.random.default_rng(seed)) for seed in range(24)]
    skin, eyes = anatomy.vertices["skin"], anatomy.vertices["eyes"]
    head = skin[anatomy.template[skin, 2] > 0.6]
    shapes = np.stack([p.vertices[head] - p.vertices[head].mean(0) for p in people])
    spread = shapes.std(0).mean()
    assert 0.001 < spread < 0.02  # millimetres, not centimetres
    for person in people:
        assert np.isfinite(person.vertices).all()
        left, right = (person.vertices[eyes[side * anatomy.template[eyes, 0] > 0]].mean(0) for side in (1, -1))
        assert 0.045 < left[0] - right[0] < 0.09
        size = np.ptp(person.vertices[head], axis=0)
        assert 0.13 < size[0] < 0.27 and 0.18 < size[1] < 0.33 and 0.2 < size[2] < 0.34
    assert {round(p.female) for p in people} == {0, 1}


def test_expressions_open_mouths_and_close_eyes():
    rng = np.random.default_rng(5)
    drawn = [sample_expression(rng) for _ in range(400)]
    closed = np.mean([expression.get("eyeBlink", 0) >= 0.9 for expression in drawn])
    half = np.mean([0 < expression.get("eyeBlink", 0) < 0.9 for expression in drawn])
    mouths = np.mean([expression.get("jawOpen", 0) > 0.02 for expression in drawn])
    assert 0.02 < closed < 0.09 and 0.04 < half < 0.14 and 0.3 < mouths < 0.55


def test_an_open_smile_shows_teeth_and_closed_lips_do_not(monkeypatch):
    anatomy = load_anatomy()
    triangles = np.concatenate([anatomy.triangles["skin"], anatomy.triangles["teeth"]])
    colors = np.zeros((len(anatomy.template), 3), np.float32)
    colors[anatomy.vertices["teeth"]] = 1
    bright = []
    for actions in ({}, {"mouthSmile": 0.8, "mouthUpperUp": 0.7, "mouthLowerDown": 0.3, "jawOpen": 0.1}):
        monkeypatch.setattr(people, "sample_expression", lambda rng, actions=actions: actions)
        person = sample_person(anatomy, np.random.default_rng(3))
        vertices = np.ascontiguousarray((person.vertices - [0, -0.05, 0.7]) * 6.2, np.float32)
        head = mesh_head(vertices, np.ascontiguousarray(triangles, np.int32), colors)
        bright.append((render(head, SIX[:1], 256).rgba[0, ..., 0] > 128).sum())
    assert bright[1] > 60 and bright[0] < 0.2 * bright[1]


def test_one_person_moves_only_what_an_action_moves():
    anatomy = load_anatomy()
    still, open_jaw = scene.make_head(7, {}), scene.make_head(7, {"jawOpen": 0.8})
    moved = np.linalg.norm(open_jaw.vertices - still.vertices, axis=1)
    height = anatomy.template[:, 2]
    assert moved[: len(height)][height > 0.76].max() < 1e-5 and moved[len(height) :].max() < 1e-5
    assert moved[: len(height)].max() > 0.1


def test_wet_things_have_small_highlights():
    vertices, triangles = sphere(0.8)
    lamp = Lighting(np.array([[0, -1, 0]], np.float32), np.ones((1, 3), np.float32), 1)
    black = mesh_head(vertices, triangles, np.zeros((len(vertices), 3)))
    sizes = []
    for gloss in (0.9, WET):
        surface = {"gloss": np.full(len(vertices), gloss, np.float32), "lighting": lamp}
        head = replace(black, **surface, visibility=np.ones((1, len(vertices)), np.float32))
        sizes.append((render(head, SIX[:1], 128).rgba[0, ..., 0] > 100).sum())
    assert 10 < sizes[1] < 0.35 * sizes[0]


def test_every_kind_of_clothes_stands_off_the_body():
    """All outfits on one person: finite, closed where they go round, and outside the neck."""
    anatomy = load_anatomy()
    person = sample_person(anatomy, np.random.default_rng(1))
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        seen.add(clothes.sample_outfit(person, rng).collar)
        look = paint(anatomy, person, np.random.default_rng(0))
        before = look.displacement.copy()
        pieces = clothes.dress(anatomy, person, look, np.random.default_rng(seed))
        assert (look.displacement - before).max() > 0.002
        for worn in pieces:
            assert np.isfinite(worn.vertices).all() and worn.triangles.max() < len(worn.vertices)
            out = np.hypot(worn.vertices[:, 0], worn.vertices[:, 1] - clothes.NECK[1])
            assert 0.03 < out.min() and out.max() < 0.2
    assert seen == {"", "shirt", "lapels", "roll", "hood", "ring", "scarf"}


def test_strips_face_outwards():
    angle = np.linspace(0, 2 * np.pi, 32)
    rows = [np.stack([np.sin(angle), -np.cos(angle), 0 * angle + height], 1) for height in (0.0, 0.5, 1.0)]
    vertices, triangles = (array.astype(kind) for array, kind in zip(strip(rows), (np.float32, np.int32), strict=True))
    normals = scene.vertex_normals(np.ascontiguousarray(vertices), np.ascontiguousarray(triangles))
    assert ((normals[:, :2] * vertices[:, :2]).sum(1) > 0.95).all()


# --- Whole heads ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heads():
    return {seed: scene.make_head(seed) for seed in range(100, 108)}


def test_heads_are_finite_and_lit(heads):
    for head in heads.values():
        assert np.isfinite(head.vertices).all() and np.isfinite(head.colors).all()
        assert head.triangles.min() >= 0 and head.triangles.max() < len(head.vertices)
        assert head.colors.min() >= 0
        front = render(head, SIX[:1], 64).rgba[0]
        middle = np.asarray(on_white(front))[30:46, 24:40].mean() / 255
        assert 0.06 < middle < 0.94
        assert 0.2 < (front[..., 3] > 0).mean() < 0.75


def test_face_lies_where_the_alignment_puts_it(heads):
    """MTCNN finds the face, in the place and size of docs/model.md, 2 (which are its own statistics)."""
    boxes = []
    for head in heads.values():
        front = on_white(render(head, SIX[:1], 512, 1).rgba[0])
        faces = [face for face in detect_faces(front) if face.probability > 0.8]
        assert faces
        boxes.append(max(faces, key=lambda face: face.area).box)
    boxes = np.array(boxes)
    center, size = 0.5 * (boxes[:, :2] + boxes[:, 2:]), 0.5 * (boxes[:, 2:] - boxes[:, :2]).sum(1)
    assert np.abs(center.mean(0) - scene.FACE_CENTER).max() < 9
    assert np.abs(center - scene.FACE_CENTER).max() < 35
    assert abs(size.mean() / scene.FACE_SIZE - 1) < 0.06
    assert np.abs(size / scene.FACE_SIZE - 1).max() < 0.2


def test_views_agree_in_depth(heads):
    """Front-view pixels, carried to the other views by their depth, lie on the head there or behind its surface."""
    head = heads[100]
    size = 96
    views = render(head, sample_cameras(np.random.default_rng(1), 4), size)
    fx, fy, cx, cy = cameras.intrinsics(size).tolist()
    v, u = np.nonzero(views.rgba[0, ..., 3] == 255)
    z = views.depth[0, v, u].astype(np.float64)
    local = np.stack([(u + 0.5 - cx) / fx * z, (v + 0.5 - cy) / fy * z, z], 1)
    world = local @ views.c2w[0, :3, :3].T + views.c2w[0, :3, 3]
    assert len(world) > 1500
    for c2w, rgba, depth in zip(views.c2w[1:], views.rgba[1:], views.depth[1:].astype(float), strict=True):
        seen = (world - c2w[:3, 3]) @ c2w[:3, :3]
        x, y = fx * seen[:, 0] / seen[:, 2] + cx, fy * seen[:, 1] / seen[:, 2] + cy
        inside = (x > 1) & (x < size - 1) & (y > 1) & (y < size - 1)
        column, row = x[inside].astype(int), y[inside].astype(int)
        assert (rgba[row, column, 3] > 0).mean() > 0.97
        hidden = seen[inside, 2] - depth[row, column]
        assert (hidden[rgba[row, column, 3] == 255] > -0.1).mean() > 0.97


def test_cameras_are_the_six_views_and_then_random_ones():
    c2w = sample_cameras(np.random.default_rng(0), 200)
    np.testing.assert_array_equal(c2w[:6], SIX)
    position = c2w[6:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(position, axis=1), cameras.RADIUS, rtol=1e-5)
    elevation = np.degrees(np.arcsin(position[:, 2] / cameras.RADIUS))
    assert -20.01 < elevation.min() < -15 and 25 < elevation.max() < 30.01
    quadrants = np.histogram(np.arctan2(position[:, 1], position[:, 0]), 4, (-np.pi, np.pi))[0]
    assert quadrants.min() > 25


# --- Files and the command ------------------------------------------------------------------------------------------


def arguments(folder, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(["-o", str(folder), *more])


SMALL = ("--count", "5", "--first-seed", "7", "--size", "32", "--random-views", "1")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(command, "SHARD_SIZE", 2)


@pytest.mark.slow
def test_shards_are_the_same_for_any_number_of_processes(tmp_path, small_shards):
    assert command.run(arguments(tmp_path / "one", *SMALL)) == 0
    assert command.run(arguments(tmp_path / "two", *SMALL, "--processes", "2")) == 0
    names = ["heads-00000007.npz", "heads-00000009.npz", "heads-00000011.npz"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    one, two = dataset.HeadDataset(tmp_path / "one"), dataset.HeadDataset(tmp_path / "two")
    assert len(one) == len(two) == 5 and (one.views, one.size) == (7, 32)
    np.testing.assert_array_equal(one.seeds, np.arange(7, 12))
    for index in range(5):
        for name in ("rgba", "depth", "c2w"):
            np.testing.assert_array_equal(getattr(one[index], name), getattr(two[index], name))
    fresh = dataset.generate(11, size=32, random_views=1)
    np.testing.assert_array_equal(one[-1].rgba, fresh.rgba)
    np.testing.assert_array_equal(one[4].depth, fresh.depth)
    assert not np.array_equal(one[0].rgba, one[1].rgba)
    with pytest.raises(IndexError):
        one[5]


def test_command_goes_on_where_it_stopped(tmp_path, small_shards):
    command.run(arguments(tmp_path, *SMALL))
    kept, lost = tmp_path / "heads-00000007.npz", tmp_path / "heads-00000009.npz"
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    command.run(arguments(tmp_path, *SMALL, "--sheet", str(tmp_path / "pictures" / "sheet.png")))
    assert kept.stat().st_mtime_ns == before
    again = dataset.read_shard(lost)
    np.testing.assert_array_equal(again.seeds, [9, 10])
    assert len(lost.read_bytes()) == len(content)
    sheet = Image.open(tmp_path / "pictures" / "sheet.png")
    assert sheet.size == (5 * 128, 128) and np.asarray(sheet).std() > 20
    with pytest.raises(FaceLiftError, match="choose another folder"):
        command.run(arguments(tmp_path, *SMALL[:-1], "2"))


def test_damaged_shards_are_refused(tmp_path):
    path = dataset.write_shard(tmp_path, range(3, 4), size=32, random_views=0)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-10], b"not a shard at all"):
        path.write_bytes(damaged)
        with pytest.raises(FaceLiftError, match="not a complete shard"):
            dataset.read_shard(path)
    np.savez_compressed(path, rgba=np.zeros(3))
    with pytest.raises(FaceLiftError, match="not a complete shard"):
        dataset.read_shard(path)
    np.savez(path, rgba=np.zeros((1, 6, 4, 4, 4), np.uint8), seeds=np.array([{}], object))
    with pytest.raises(FaceLiftError, match="not a complete shard"):
        dataset.read_shard(path)
    with pytest.raises(FaceLiftError, match="no shard"):
        dataset.read_shard(tmp_path / "missing.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FaceLiftError, match="no shards"):
        dataset.HeadDataset(tmp_path / "empty")


def test_shards_of_different_kinds_do_not_mix(tmp_path):
    dataset.write_shard(tmp_path, range(1), size=32, random_views=0)
    dataset.write_shard(tmp_path, range(1, 2), size=32, random_views=1)
    with pytest.raises(FaceLiftError, match="differ"):
        dataset.HeadDataset(tmp_path)


def test_nothing_is_left_of_a_shard_that_could_not_be_written(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(FaceLiftError, match="No space left"):
        dataset.write_shard(tmp_path, range(1), size=16, random_views=0)
    assert list(tmp_path.iterdir()) == []


def test_folders_have_pictures_and_cameras(tmp_path):
    more = ("--layout", "folders", "--count", "1", "--first-seed", "42", "--size", "32", "--random-views", "2")
    assert command.run(arguments(tmp_path, *more)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["00000042"]
    folder = tmp_path / "00000042"
    frames = json.loads((folder / "opencv_cameras.json").read_text())["frames"]
    views = dataset.generate(42, 32, 2)
    assert len(frames) == 8
    for frame, rgba, c2w in zip(frames, views.rgba, views.c2w, strict=True):
        picture = Image.open(folder / frame["file_path"])
        assert picture.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(picture), rgba)
        assert (frame["w"], frame["h"], frame["cx"], frame["cy"]) == (32, 32, 16, 16)
        assert frame["fx"] == frame["fy"] == pytest.approx(548.9937744140625 * 32 / 512)
        np.testing.assert_allclose(np.array(frame["w2c"]) @ c2w, np.eye(4), atol=1e-6)
    stamp = (folder / "opencv_cameras.json").stat().st_mtime_ns
    assert command.run(arguments(tmp_path, *more)) == 0  # already there: kept
    assert (folder / "opencv_cameras.json").stat().st_mtime_ns == stamp
    with pytest.raises(FaceLiftError, match="already exists"):
        folders.write_folder(folder, views)


def test_folders_and_shards_are_the_same_heads(tmp_path):
    (tmp_path / "shards").mkdir()
    dataset.write_shard(tmp_path / "shards", range(60, 62), size=32, random_views=2)
    shards = dataset.HeadDataset(tmp_path / "shards")
    for number in range(2):
        folders.write_folder(tmp_path / "folders" / f"{number}", shards[number])
    read = dataset.HeadDataset(tmp_path / "folders")
    assert (len(read), read.views, read.size) == (2, 8, 32)
    for number in range(2):
        np.testing.assert_array_equal(read[number].rgba, shards[number].rgba)
        np.testing.assert_array_equal(read[number].depth, shards[number].depth)
        np.testing.assert_allclose(read[number].c2w, shards[number].c2w, atol=1e-5)


def test_folders_made_elsewhere_are_read_whatever_their_order(tmp_path):
    views = dataset.generate(43, 32, 3)
    folders.write_folder(tmp_path / "a", views)
    (tmp_path / "a" / "depth.npy").unlink()
    cameras_file = tmp_path / "a" / "opencv_cameras.json"
    frames = json.loads(cameras_file.read_text())["frames"]
    order = [8, 2, 0, 7, 5, 1, 6, 4, 3]
    cameras_file.write_text(json.dumps({"id": "their own", "frames": [frames[n] for n in order]}))
    read = dataset.HeadDataset(tmp_path)[0]
    assert read.depth is None
    np.testing.assert_array_equal(read.rgba[:6], views.rgba[:6])
    np.testing.assert_array_equal(read.rgba[6:], views.rgba[[8, 7, 6]])

    cameras_file.write_text(json.dumps({"frames": [frames[n] for n in order if n != 3]}))
    with pytest.raises(FaceLiftError, match="lacks the back view"):
        dataset.HeadDataset(tmp_path)
    cameras_file.write_text(json.dumps({"frames": [{**frame, "fx": 40.0} for frame in frames]}))
    with pytest.raises(FaceLiftError, match="50° field of view"):
        dataset.HeadDataset(tmp_path)
    cameras_file.write_text(json.dumps({"frames": [{"file_path": "000.png"}]}))
    with pytest.raises(FaceLiftError, match="does not list cameras"):
        dataset.HeadDataset(tmp_path)
    cameras_file.write_text(json.dumps({"frames": frames}))
    (tmp_path / "a" / "004.png").write_bytes(b"no picture")
    with pytest.raises(FaceLiftError, match=r"004\.png cannot be read"):
        dataset.HeadDataset(tmp_path)[0]


@pytest.mark.parametrize(
    "wrong", [("--count", "0"), ("--size", "8"), ("--first-seed", "-1"), ("--random-views", "-1"), ("--processes", "0")]
)
def test_command_refuses_senseless_numbers(tmp_path, wrong, capsys):
    assert command.main(["-o", str(tmp_path / "out"), *wrong]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"Error: {wrong[0]} must be at least") and message.count("\n") == 1
    assert not (tmp_path / "out").exists()
