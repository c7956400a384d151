"""Face meshes as files of other programs."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from blenders import in_each_blender, needs_blender
from synthetic_rig import make_rig
from test_blender_splats import run

from facelift_core import FaceLiftError
from facelift_core.animation import fit
from facelift_core.animation.deform import deformed_vertices
from facelift_core.animation.face_files import write_glb
from facelift_core.animation.rig import BODY, BONES, NEUTRAL, SHAPES
from facelift_core.animation.template import load_template
from facelift_core.cli import main
from facelift_core.gaussians import files


def face():
    mesh = make_rig().mesh
    return replace(mesh, neutral=0.01 * np.cos(40 * mesh.vertices))


def accessor(document: dict, binary: bytes, number: int) -> np.ndarray:
    """Values of an accessor, as glTF describes them."""
    about = document["accessors"][number]
    view = document["bufferViews"][about["bufferView"]]
    kind = {5121: "u1", 5125: "<u4", 5126: "<f4"}[about["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[about["type"]]
    data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(data, kind).reshape(about["count"], width)


def test_a_glb_has_the_shapes_and_bones(tmp_path):
    from facelift_core.gaussians import glb

    mesh, path = face(), tmp_path / "face.glb"
    write_glb(mesh, path)
    document, binary = glb._chunks(path)
    (primitive,), names = document["meshes"][0]["primitives"], document["meshes"][0]["extras"]["targetNames"]
    assert names == [*SHAPES, NEUTRAL] and len(primitive["targets"]) == len(names)
    places = accessor(document, binary, primitive["attributes"]["POSITION"])
    of = np.array(
        [np.abs(mesh.vertices @ [[1, 0, 0], [0, 0, -1], [0, 1, 0]] - place).sum(1).argmin() for place in places]
    )
    for name, moved in zip(names, (*mesh.shapes, mesh.neutral), strict=True):
        found = accessor(document, binary, primitive["targets"][names.index(name)]["POSITION"])
        np.testing.assert_allclose(found[:, [0, 2, 1]] * [1, -1, 1], moved[of], atol=1e-6)
    weights = accessor(document, binary, primitive["attributes"]["WEIGHTS_0"])
    joints = accessor(document, binary, primitive["attributes"]["JOINTS_0"])
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    whole = np.zeros((len(places), 1 + len(BONES)))
    np.add.at(whole, (np.arange(len(places))[:, None], joints), weights)
    np.testing.assert_allclose(whole[:, 1:], mesh.bone_weights.T[of], atol=1e-6)
    assert [document["nodes"][joint]["name"] for joint in document["skins"][0]["joints"]] == [BODY, *BONES]
    # At rest the bones leave every vertex where it is.
    ends = dict.fromkeys(range(len(document["nodes"])), np.zeros(3))
    for number, node in enumerate(document["nodes"][: 1 + len(BONES)]):
        ends[number] = ends[number] + node["translation"]
        for child in node.get("children", ()):
            ends[child] = ends[number]
    matrices = accessor(document, binary, document["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4)
    np.testing.assert_allclose(matrices[:, 3, :3], [-ends[number] for number in range(1 + len(BONES))], atol=1e-6)


def test_another_program_reads_the_glb(tmp_path):
    template = load_template()
    mesh = replace(
        face(), vertices=template.vertices, quads=template.quads, uvs=template.uvs, shapes=template.shapes,
        neutral=0 * template.vertices, bone_weights=template.bone_weights,
    )  # fmt: skip
    write_glb(mesh, tmp_path / "face.glb")
    (read,) = trimesh.load(tmp_path / "face.glb", process=False).geometry.values()
    assert len(read.faces) == 2 * len(mesh.quads) and (tmp_path / "face.glb").stat().st_size < 6e6
    assert np.isfinite(read.vertices).all() and read.visual.uv.min() >= 0 and read.visual.uv.max() <= 1
    np.testing.assert_allclose(read.extents, np.ptp(mesh.vertices, axis=0)[[0, 2, 1]], atol=1e-6)


def test_only_glb_is_written(tmp_path):
    with pytest.raises(FaceLiftError, match="not a format for face meshes"):
        write_glb(face(), tmp_path / "face.obj")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_face_of_a_head(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fit, "fit_face", lambda *_: face())
    files.write(make_rig().gaussians, tmp_path / "head.ply")
    assert main(["rig", str(tmp_path / "head.ply"), "-o", str(tmp_path / "face.glb")]) == 0
    assert "52 shapes" in capsys.readouterr().out
    assert len(trimesh.load(tmp_path / "face.glb", process=False).geometry) == 1
    assert main(["rig", str(tmp_path / "head.ply"), "-o", str(tmp_path / "face.fbx")]) == 1
    assert main(["rig", str(tmp_path / "none.ply"), "-o", str(tmp_path / "none.glb")]) == 1
    assert "does not exist" in capsys.readouterr().err and not (tmp_path / "none.glb").exists()


@needs_blender
@in_each_blender
def test_blender_reads_the_glb(python, tmp_path):
    mesh = face()
    write_glb(mesh, tmp_path / "face.glb")
    weights = np.random.default_rng(0).random(len(SHAPES)).astype(np.float32)
    np.savez(
        tmp_path / "expected.npz", rest=mesh.vertices, weights=weights, moved=deformed_vertices(mesh, weights, 0.5)
    )
    run(python, "face_glb.py", tmp_path)
