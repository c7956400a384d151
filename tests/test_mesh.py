"""Meshes of heads: closed, outward, textured; files of other programs; refusals in a sentence."""

import json
import sys
import threading

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import facelift_core as fl
from facelift_core.cli import main
from facelift_core.gaussians.tensors import SH_C0, Gaussians
from facelift_core.jobs import handlers
from facelift_core.jobs.reconstruct import Models
from facelift_core.mesh import unwrap
from facelift_core.mesh.head_mesh import HeadMesh, make_mesh
from facelift_core.mesh.occupancy import optical_depth
from facelift_core.mesh.texels import texels_of

RADIUS = np.array([0.45, 0.5, 0.6])


def ball(count: int = 20_000, hole: float = 2.0, scale: float = 1.0) -> Gaussians:
    """Thin discs on an ellipsoid: red in front (−Y), blue behind; none above the height `hole`."""
    k = np.arange(count) + 0.5
    z, turn = 1 - 2 * k / count, k * np.pi * (3 - 5**0.5)
    unit = np.stack([np.cos(turn) * np.sqrt(1 - z * z), np.sin(turn) * np.sqrt(1 - z * z), z], 1)
    points = unit[z < hole] * RADIUS
    colors = np.where(points[:, 1:2] < 0, [[0.9, 0.1, 0.1]], [[0.1, 0.1, 0.9]])
    n = len(points)
    fields = (points * scale, ((colors - 0.5) / SH_C0)[:, None], np.full((n, 3), np.log(0.008 * scale)))
    positions, sh, log_scales = (torch.tensor(x, dtype=torch.float32) for x in fields)
    rotations = torch.tensor([[1.0, 0, 0, 0]]).expand(n, 4)
    return Gaussians(positions, sh, log_scales, rotations, torch.full((n,), 4.0))


@pytest.fixture(scope="module")
def made() -> HeadMesh:
    return make_mesh(ball(), faces=8_000, texture=512)


def solid(mesh: HeadMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)


def test_the_mesh_is_closed_outward_in_one_piece_and_where_the_gaussians_are(made):
    found = solid(made)
    assert found.is_watertight and found.is_winding_consistent and found.body_count == 1
    assert found.euler_number == 2 and 1_000 < len(made.faces) <= 8_000
    # Below, it is cut where the last few per cent of the Gaussians are.
    assert found.volume == pytest.approx(4 / 3 * np.pi * RADIUS.prod(), rel=0.08) and found.volume > 0
    above = made.vertices[made.vertices[:, 2] > -0.4]
    assert np.abs(np.linalg.norm(above / RADIUS, axis=1) - 1).max() < 0.04
    assert np.ptp(made.vertices[made.vertices[:, 2] < made.vertices[:, 2].min() + 0.01, 2]) < 0.01, "a flat bottom"


def test_normals_point_outwards(made):
    above = made.vertices[:, 2] > -0.4
    expected = made.vertices / RADIUS**2
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(np.linalg.norm(made.normals, axis=1), 1, atol=1e-3)
    assert (made.normals * expected).sum(1)[above].min() > 0.9


def test_a_hole_in_the_crown_is_closed():
    found = solid(make_mesh(ball(hole=0.8), faces=2_000, texture=512))
    assert found.is_watertight and found.euler_number == 2
    assert found.bounds[1, 2] > 0.42, "closed at its rim, not down in the hollow"
    assert found.volume > 0.8 * 4 / 3 * np.pi * RADIUS.prod()


def test_size_and_place_make_no_difference(made):
    scaled = ball(scale=0.17)
    moved = Gaussians(scaled.positions + torch.tensor([3.0, -2, 1]), *list(vars(scaled).values())[1:])
    other = make_mesh(moved, faces=8_000, texture=512)
    assert np.allclose((other.vertices.min(0) - [3, -2, 1]) / 0.17, made.vertices.min(0), atol=0.01)
    assert np.allclose((other.vertices.max(0) - [3, -2, 1]) / 0.17, made.vertices.max(0), atol=0.01)


def test_the_texture_shows_the_gaussians(made):
    texels = texels_of(made.uvs[made.uv_faces], 512)
    points = texels.interpolate(made.vertices[made.faces])
    colors = made.texture.reshape(-1, 3)[texels.index] / 255.0
    seen = points[:, 2] > -0.4
    front, back = seen & (points[:, 1] < -0.05), seen & (points[:, 1] > 0.05)
    assert np.abs(colors[front] - [0.9, 0.1, 0.1]).mean() < 0.03 and front.sum() > 5_000
    assert np.abs(colors[back] - [0.1, 0.1, 0.9]).mean() < 0.03 and back.sum() > 5_000


def test_no_two_faces_share_texels(made):
    assert made.uvs.min() > -0.01 and made.uvs.max() < 1.01
    texels = texels_of(made.uvs[made.uv_faces], 512)
    assert len(texels.index) > 80_000
    assert len(texels.index) - len(np.unique(texels.index)) < 1e-3 * len(texels.index)
    assert np.array_equal(made.vertex_of_uv[made.uv_faces], made.faces)


def test_charts_that_cover_themselves_are_split():
    ring = trimesh.creation.torus(
        0.5, 0.2, major_sections=64, minor_sections=32
    )  # from the side, it hides its far side
    vertices, faces = ring.vertices.astype(np.float32), ring.faces.astype(np.int32)
    _, corners, uvs = unwrap.unwrap(vertices, faces, 512)
    texels = texels_of(uvs[corners], 512)
    assert len(texels.index) - len(np.unique(texels.index)) < 2e-3 * len(texels.index)


def test_texels_are_those_whose_centers_a_triangle_covers():
    corners = np.array([[[0.1, 0.1], [0.9, 0.2], [0.4, 0.8]], [[0.9, 0.9], [0.9, 0.9], [0.9, 0.9]]])
    texels = texels_of(corners, 32)
    row, column = divmod(texels.index, 32)
    centers = np.stack([(column + 0.5) / 32, 1 - (row + 0.5) / 32], axis=1)
    assert np.allclose(texels.interpolate(corners), centers, atol=1e-6) and (texels.face == 0).all()
    area = 0.5 * abs(np.linalg.det(np.array([corners[0, 1] - corners[0, 0], corners[0, 2] - corners[0, 0]])))
    assert len(texels.index) == pytest.approx(area * 32**2, rel=0.05)


@pytest.mark.parametrize("direction", [(0, 0, 1.0), (0, -1.0, 0), (0.6, 0.8, 0), (-0.7, 0.3, 0.2)])
def testoptical_depth_is_what_lies_outwards(direction):
    direction = np.array(direction) / np.linalg.norm(direction)
    density = np.zeros((21, 21, 21), np.float32)
    density[10, 10, 10] = 1.0
    depth = optical_depth(density, direction)
    inward = np.round(10 - 6 * direction).astype(int)
    outward = np.round(10 + 6 * direction).astype(int)
    assert depth[tuple(inward)] > 0.1 and depth[tuple(outward)] == 0
    # What one slice across the ray's main axis receives is one voxel's depth along the ray.
    axis = np.abs(direction).argmax()
    assert np.take(depth, inward[axis], axis).sum() == pytest.approx(1 / abs(direction[axis]), rel=1e-4)


def test_the_limit_of_faces_holds_and_the_bottom_can_be_open():
    mesh = make_mesh(ball(6000), faces=2_000, texture=512, bottom="open")
    assert len(mesh.faces) <= 2_000
    found = solid(mesh)
    assert not found.is_watertight and len(np.unique(mesh.faces)) == len(mesh.vertices)
    edges, counts = np.unique(np.sort(found.edges, axis=1), axis=0, return_counts=True)
    rim = np.unique(edges[counts == 1])
    assert counts.max() == 2 and len(rim) > 10 and np.ptp(mesh.vertices[rim, 2]) < 0.03


def test_files_of_other_programs(made, tmp_path):
    for suffix in (".glb", ".obj", ".stl"):
        made.save(tmp_path / f"anna b{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "anna b.glb", "anna b.obj", "anna b.stl", "anna_b.mtl", "anna_b.png",
    ]  # fmt: skip
    glb = trimesh.load(tmp_path / "anna b.glb", force="mesh", process=False)
    obj = trimesh.load(tmp_path / "anna b.obj", force="mesh", process=False)
    for found in (glb, obj):
        assert len(found.faces) == len(made.faces)
        # Y is up, and the face looks to +Z.
        assert np.allclose(found.bounds[:, 1], [made.vertices[:, 2].min(), made.vertices[:, 2].max()], atol=1e-4)
        first = found.vertices[found.faces[7]]
        assert np.allclose(
            np.stack([first[:, 0], -first[:, 2], first[:, 1]], 1), made.vertices[made.faces[7]], atol=1e-4
        )
        assert np.allclose(found.visual.uv[found.faces[7]], made.uvs[made.uv_faces[7]], atol=1e-4)
    picture = glb.visual.material.baseColorTexture
    assert np.array_equal(np.asarray(picture.convert("RGB")), made.texture)
    assert Image.open(tmp_path / "anna_b.png").size == (512, 512)
    assert trimesh.load(tmp_path / "anna b.stl").is_watertight
    with pytest.raises(fl.FaceLiftError, match=r"“\.fbx” is not a format for meshes"):
        made.save(tmp_path / "head.fbx")
    with pytest.raises(fl.FaceLiftError, match="Cannot write"):
        made.save(tmp_path / "nowhere" / "head.glb")


def test_usd(made, tmp_path):
    usd, geom, shade = (pytest.importorskip(f"pxr.{name}") for name in ("Usd", "UsdGeom", "UsdShade"))
    for suffix in (".usd", ".usda", ".usdc"):
        made.save(tmp_path / f"anna b{suffix}")
        stage = usd.Stage.Open(str(tmp_path / f"anna b{suffix}"))
        assert geom.GetStageUpAxis(stage) == geom.Tokens.z and stage.GetDefaultPrim().GetName() == "Head"
        surface = geom.Mesh(stage.GetPrimAtPath("/Head/Surface"))
        assert np.array_equal(surface.GetPointsAttr().Get(), made.vertices)
        assert np.array_equal(np.reshape(surface.GetFaceVertexIndicesAttr().Get(), (-1, 3)), made.faces)
        coordinates = geom.PrimvarsAPI(surface).GetPrimvar("st").ComputeFlattened()
        assert np.allclose(np.reshape(coordinates, (-1, 3, 2)), made.uvs[made.uv_faces])
        material = shade.MaterialBindingAPI(surface).ComputeBoundMaterial()[0]
        texture = shade.Shader(stage.GetPrimAtPath(f"{material.GetPath()}/Texture"))
        assert texture.GetInput("file").Get().path == "./anna b.png"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "anna b.png")), made.texture)
    with pytest.raises(fl.FaceLiftError, match="Cannot write"):
        made.save(tmp_path / "nowhere" / "head.usd")


def test_npz_holds_the_arrays(made, tmp_path):
    made.save(tmp_path / "head.npz")
    with np.load(tmp_path / "head.npz") as file:
        assert all(np.array_equal(file[name], value) for name, value in vars(made).items())


def test_what_is_no_head_is_refused_in_a_sentence(monkeypatch):
    few = ball(80)
    with pytest.raises(fl.FaceLiftError, match="too few"):
        make_mesh(few)
    with pytest.raises(fl.FaceLiftError, match="no Gaussians"):
        make_mesh(few[:0])
    thin = ball(400)
    faint = Gaussians(*list(vars(thin).values())[:4], torch.full((400,), -3.0))
    with pytest.raises(fl.FaceLiftError, match="enclose"):
        make_mesh(faint)
    for bad, word in (({"faces": 5}, "faces"), ({"texture": 999}, "texture"), ({"bottom": "round"}, "bottom")):
        with pytest.raises(fl.FaceLiftError, match=word):
            make_mesh(few, **bad)
    monkeypatch.setitem(sys.modules, "manifold3d", None)
    with pytest.raises(fl.FaceLiftError, match="update the runtime"):
        make_mesh(ball(6000), faces=2_000, texture=512)


def test_a_job_reports_progress_and_stops(tmp_path):
    ball(6000).save(tmp_path / "head.ply")
    request = {"head": str(tmp_path / "head.ply"), "file": str(tmp_path / "mesh.npz"), "faces": 2000, "texture": 512}
    events = []
    done = handlers.run("mesh", request, events.append, lambda: False, Models())
    assert done.result["faces"] <= 2000 and (tmp_path / "mesh.npz").is_file()
    assert {event.stage for event in events} == {"surface", "texture"}
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions) and 0 <= fractions[0] and fractions[-1] <= 1
    (tmp_path / "mesh.npz").unlink()
    stop = threading.Event()
    stopped = handlers.run("mesh", request, lambda event: stop.set(), stop.is_set, Models())
    assert type(stopped).__name__ == "Stopped" and not (tmp_path / "mesh.npz").exists()


def test_the_command(tmp_path, capsys):
    ball(6000).save(tmp_path / "head.ply")
    options = ["--faces", "2000", "--texture", "512"]
    assert main(["mesh", str(tmp_path / "head.ply"), "-o", str(tmp_path / "head.glb"), *options]) == 0
    assert "triangles" in capsys.readouterr().out
    content = (tmp_path / "head.glb").read_bytes()
    length = int.from_bytes(content[12:16], "little")
    assert json.loads(content[20 : 20 + length])["asset"]["version"] == "2.0"
    assert main(["mesh", str(tmp_path / "head.ply"), "-o", str(tmp_path / "head.fbx")]) == 1
    assert main(["mesh", str(tmp_path / "none.ply"), "-o", str(tmp_path / "head.glb")]) == 1
    assert main(["mesh", str(tmp_path / "head.ply"), "-o", str(tmp_path / "a" / "head.glb")]) == 1
    assert capsys.readouterr().err.count("facelift: ") == 3
