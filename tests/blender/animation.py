"""Faces that move Gaussians, in one process: `animation.py [WORD…] FOLDER`."""

import sys
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
from from_source import empty_file, run_tests

sys.path.insert(0, str(Path(__file__).parents[1]))
from mathutils import Matrix, Vector
from synthetic_rig import make_rig

from facelift_blender.animation import gallery, gaze, lids, names, poses, posing, rigs, takes
from facelift_blender.splats import attributes, exporting, nodes, objects
from facelift_core.animation.capture import Take
from facelift_core.animation.deform import deform, deformed_vertices
from facelift_core.animation.rig import BODY, BONES, NEUTRAL, SHAPES

OWN = 170
"""Of the rig's Gaussians, those that the head had before."""


def new_head(**arguments) -> tuple[bpy.types.Object, object]:
    empty_file()
    rig = make_rig()
    joints = rig.mesh.joints.copy()
    joints[3:, 1] += [[0.0017, 0, 0], [0, 0, 0.0017]]  # eyes that do not look exactly along an axis
    rig = replace(rig, mesh=replace(rig.mesh, joints=joints, neutral=0.01 * np.cos(40 * rig.mesh.vertices)))
    head = objects.create_splat_object(bpy.context, rig.gaussians[np.arange(OWN)], "Head", **arguments)
    rigs.insert(rig, head)
    bpy.context.view_layer.update()
    return head, rig


def shape(head: bpy.types.Object, weights: np.ndarray, neutral: float = 0.0) -> None:
    keys = names.face_of(head).data.shape_keys.key_blocks
    for name, weight in zip((NEUTRAL, *SHAPES), (neutral, *weights), strict=True):
        keys[name].value = weight


def some_weights(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(SHAPES)) * 0.9).astype(np.float32)


def evaluated(head: bpy.types.Object) -> attributes.SplatArrays:
    return exporting.edited(bpy.context.scene, head, apply_transform=False)


def agree(found: attributes.SplatArrays, expected: attributes.SplatArrays, tolerance: float = 2e-5) -> None:
    def covariances(splats):
        return exporting.transforms.rotation_matrices(splats.rotations) * np.exp(splats.log_scales)[:, None]

    assert len(found) == len(expected)
    size = max(1.0, np.abs(expected.positions).max())
    np.testing.assert_allclose(found.positions, expected.positions, atol=tolerance * size)
    np.testing.assert_allclose(found.log_scales, expected.log_scales, atol=10 * tolerance)
    np.testing.assert_allclose(covariances(found), covariances(expected), atol=tolerance * size)


def kept(splats: attributes.SplatArrays, of: attributes.SplatArrays) -> attributes.SplatArrays:
    """Those of `splats` that the modifier does not leave out for being too faint."""
    return splats[1 / (1 + np.exp(-of.opacity_logits)) >= 1 / 255]


def test_parts():
    head, rig = new_head()
    face, armature = names.face_of(head), names.rig_of(head)
    assert names.head_of(face) == names.head_of(armature) == names.head_of(head) == head
    keys = face.data.shape_keys.key_blocks
    assert [key.name for key in keys] == ["Basis", NEUTRAL, *SHAPES, *lids.shapes(rig.mesh)]
    assert all((key.slider_min, key.slider_max, key.value) == (0, 1, 0) for key in keys[1:])
    assert {len(polygon.vertices) for polygon in face.data.polygons} == {4}
    uv = np.empty(rig.mesh.uvs.size, np.float32)
    face.data.uv_layers[0].data.foreach_get("uv", uv)
    np.testing.assert_array_equal(uv.reshape(rig.mesh.uvs.shape), rig.mesh.uvs)
    assert [group.name for group in face.vertex_groups] == [BODY, *BONES]
    bones = armature.data.bones
    for number, bone in enumerate(BONES):
        np.testing.assert_allclose(bones[bone].head_local, rig.mesh.joints[number, 0], atol=1e-6)
        np.testing.assert_allclose(bones[bone].tail_local, rig.mesh.joints[number, 1], atol=1e-6)
    assert bones["jaw"].parent.name == bones["eye.L"].parent.name == "head" and bones["head"].parent.name == "neck"
    assert [modifier.name for modifier in head.modifiers] == ["Face Motion", "Splats"]
    assert face.hide_render and armature.hide_render and not face.visible_get() and not armature.visible_get()
    assert len(bpy.data.scenes) == 1 and bpy.context.view_layer.objects.get("Head Face") == face
    found = attributes.read(head.data)
    assert len(found) == len(rig.gaussians) and head.data.materials[0] is not None
    np.testing.assert_allclose(found.positions, rig.gaussians.positions)


def test_at_rest_nothing_changes():
    head, _ = new_head()
    before = attributes.read(head.data)
    found, expected = evaluated(head), kept(before, before)
    np.testing.assert_array_equal(found.positions, expected.positions)
    np.testing.assert_array_equal(found.rotations, expected.rotations)
    np.testing.assert_array_equal(found.log_scales, expected.log_scales)


def test_shape_keys_move_the_splats():
    head, rig = new_head()
    for seed in range(3):
        weights, neutral = some_weights(seed), 0.3 * seed
        shape(head, weights, neutral)
        expected = deform(rig, deformed_vertices(rig.mesh, weights, neutral))
        assert np.abs(expected.positions - rig.gaussians.positions).max() > 0.02
        agree(evaluated(head), kept(expected, rig.gaussians))


def test_bones_move_the_splats():
    head, rig = new_head()
    face, armature = names.face_of(head), names.rig_of(head)
    armature.pose.bones["jaw"].rotation_euler.x = 0.3
    armature.pose.bones["neck"].rotation_euler.z = -0.4
    weights = some_weights(4)
    shape(head, weights)
    bpy.context.view_layer.update()
    vertices = np.empty((len(rig.mesh.vertices), 3), np.float32)
    face.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.vertices.foreach_get("co", vertices.ravel())
    assert np.abs(vertices - deformed_vertices(rig.mesh, weights)).max() > 0.05
    agree(evaluated(head), kept(deform(rig, vertices), rig.gaussians))
    # About the joint: what belongs to the jaw alone keeps its distance from it.
    reset(armature)
    armature.pose.bones["jaw"].rotation_euler.x = 0.3
    shape(head, 0 * weights)
    bpy.context.view_layer.update()
    face.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.vertices.foreach_get("co", vertices.ravel())
    of_jaw = rig.mesh.bone_weights[2] == 1
    joint = rig.mesh.joints[2, 0]
    before, after = (np.linalg.norm(v[of_jaw] - joint, axis=1) for v in (rig.mesh.vertices, vertices))
    np.testing.assert_allclose(after, before, atol=1e-5)


def reset(armature: bpy.types.Object) -> None:
    for bone in armature.pose.bones:
        bone.rotation_euler = (0, 0, 0)


def test_the_face_goes_where_its_head_goes():
    head, rig = new_head()
    matrix = Matrix.Translation((3, -2, 1)) @ Matrix.Rotation(0.7, 4, "Z") @ Matrix.Scale(0.2, 4)
    head.matrix_world = matrix
    shape(head, some_weights(5))
    expected = kept(deform(rig, deformed_vertices(rig.mesh, some_weights(5))), rig.gaussians)
    bpy.context.view_layer.update()
    for part in (names.face_of(head), names.rig_of(head)):
        np.testing.assert_allclose(part.matrix_world, matrix, atol=1e-6)
    agree(evaluated(head), expected)
    copy = head.copy()
    bpy.context.scene.collection.objects.link(copy)
    copy.matrix_world = Matrix.Translation((0, 9, 0)) @ Matrix.Rotation(2, 4, "X")
    bpy.context.view_layer.update()
    agree(evaluated(copy), expected)
    # What Object > Apply does: the points are in the world now, and the rest follows.
    bpy.data.objects.remove(copy)
    bpy.context.view_layer.objects.active = head
    head.select_set(True)
    assert bpy.ops.object.transform_apply(location=True, rotation=True, scale=True) == {"FINISHED"}
    assert head.matrix_world == Matrix()
    bpy.context.view_layer.update()
    agree(evaluated(head), exporting.transforms.transform(expected, np.array(matrix)))


def test_a_face_made_again_replaces_the_first():
    head, rig = new_head()
    head.data.attributes.new("artists_own", "FLOAT_VECTOR", "POINT")
    mine = np.random.default_rng(0).normal(size=(len(rig.gaussians), 3)).astype(np.float32)
    attributes.set_values(head.data, "artists_own", mine)
    modifier = nodes.find_modifier(head)
    nodes.set_input(modifier, "Saturation", 0.25)
    assert len(rigs.own_splats(head)) == OWN
    np.testing.assert_array_equal(rigs.own_splats(head).positions, rig.gaussians.positions[:OWN])
    counts = [len(items) for items in (bpy.data.objects, bpy.data.pointclouds, bpy.data.meshes, bpy.data.armatures)]
    rigs.insert(rig, head)
    assert counts == [
        len(items) for items in (bpy.data.objects, bpy.data.pointclouds, bpy.data.meshes, bpy.data.armatures)
    ]
    assert [modifier.name for modifier in head.modifiers] == ["Face Motion", "Splats"]
    assert nodes.get_input(nodes.find_modifier(head), "Saturation") == 0.25
    found = attributes.get_values(head.data, "artists_own", 3)
    np.testing.assert_array_equal(found[:OWN], mine[:OWN])
    assert not found[OWN:].any() and head.data.name == "Head"


def test_without_its_mesh_a_head_stays_as_it_is():
    head, rig = new_head()
    shape(head, some_weights(6))
    face = names.face_of(head)
    face.data.attributes.remove(face.data.attributes[names.REST])
    np.testing.assert_array_equal(evaluated(head).positions, kept(rig.gaussians, rig.gaussians).positions)
    bpy.data.objects.remove(face)
    assert names.head_of(head) is None
    np.testing.assert_array_equal(evaluated(head).positions, kept(rig.gaussians, rig.gaussians).positions)


def values(head: bpy.types.Object) -> dict[str, float]:
    return {name: key.value for name, key in posing.sliders(head).items()}


def test_poses():
    head, _ = new_head()
    scene = bpy.context.scene
    for name, pose in poses.POSES.items():
        assert {shape.replace("*", "Left") for shape in pose.weights} <= set(SHAPES), name
        posing.pose(scene, head, name)
        assert sum(value > 0 for value in values(head).values()) >= len(pose.weights)
        assert all(0 <= value <= 1 for value in values(head).values())
    names.face_of(head).data.shape_keys.key_blocks[NEUTRAL].value = 0.5
    posing.pose(scene, head, "WINK", 0.5)
    found = values(head)
    assert found["eyeBlinkLeft"] == 0.5 and found["eyeBlinkRight"] == 0 and found[NEUTRAL] == 0.5
    posing.pose(scene, head, "BLINK")
    assert values(head)["eyeBlinkLeft"] == values(head)["eyeBlinkRight"] == 1 and values(head)["mouthSmileLeft"] == 0
    names.rig_of(head).pose.bones["jaw"].rotation_euler.x = 0.3
    posing.reset(scene, head)
    assert not any(values(head).values()) and not any(names.rig_of(head).pose.bones["jaw"].rotation_euler)
    assert sorted(shape for group in poses.GROUPS for shape in poses.shapes_of(group)) == sorted(SHAPES)
    assert poses.label_of("mouthSmileLeft") == "Mouth Smile Left"


def test_expressions_have_pictures_and_are_recognized():
    head, _ = new_head()
    for name in poses.POSES:
        assert 1_000 < poses.picture_of(name).stat().st_size < 16_000
        for strength in (1.0, 0.3):
            posing.pose(bpy.context.scene, head, name, strength)
            assert gallery.closest({key: value for key, value in values(head).items() if key != NEUTRAL}) == name
    assert len(list(poses.picture_of(poses.PHOTO).parent.glob("*.png"))) == len(poses.POSES)
    assert gallery.closest({"jawOpen": 0.5, "noseSneerLeft": 0.5}) is None


def test_the_photo_smiles_already():
    head, _ = new_head()
    face, scene = names.face_of(head), bpy.context.scene
    face.data[names.EXPRESSION] = [0.6 if name.startswith("mouthSmile") else 0.0 for name in SHAPES]
    posing.pose(scene, head, "SMILE")
    assert abs(values(head)["mouthSmileLeft"] - 0.6 * 0.4) < 1e-6 and abs(values(head)["cheekSquintLeft"] - 0.25) < 1e-6
    added = {key: value for key, value in values(head).items() if key != NEUTRAL}
    assert gallery.closest(added, posing.still_to_add(head, posing.sliders(head))) == "SMILE"
    face.data.shape_keys.key_blocks[NEUTRAL].value = 1.0
    posing.pose(scene, head, "SMILE")
    assert abs(values(head)["mouthSmileLeft"] - 0.6) < 1e-6


def curve(head: bpy.types.Object, shape: str) -> bpy.types.FCurve:
    keys = names.face_of(head).data.shape_keys
    return next(c for c in takes.curves_of(keys) if c.data_path == f'key_blocks["{shape}"].value')


def test_keyframes():
    head, _ = new_head()
    scene = bpy.context.scene
    scene.frame_set(10)
    posing.pose(scene, head, "SMILE")
    assert posing.key_all(scene, head) == len(SHAPES) + 1
    scene.frame_set(20)
    posing.reset(scene, head)
    posing.key_all(scene, head)
    scene.frame_set(10)
    assert abs(values(head)["mouthSmileLeft"] - 0.6) < 1e-6
    scene.frame_set(20)
    assert values(head)["mouthSmileLeft"] == 0
    assert posing.blink(scene, head) == 1
    assert [tuple(point.co) for point in curve(head, "eyeBlinkRight").keyframe_points] == [
        (10, 0), (20, 0), (23, 1), (26, 0),
    ]  # fmt: skip
    scene.frame_set(23)
    assert values(head)["eyeBlinkLeft"] == 1
    scene.frame_set(30)
    scene.frame_end = 1000
    assert 970 / 24 / 6 < posing.blink(scene, head, repeat=True) < 970 / 24 / 2 + 1
    assert curve(head, "eyeBlinkLeft").range()[1] <= 1000
    scene.tool_settings.use_keyframe_insert_auto = True
    scene.frame_set(40)
    posing.pose(scene, head, "SAD")
    assert 40 in [point.co.x for point in curve(head, "browInnerUp").keyframe_points]


def looks(head: bpy.types.Object) -> list[Vector]:
    """Where the eyes look."""
    bpy.context.view_layer.update()
    armature = names.rig_of(head)
    return [(armature.matrix_world @ armature.pose.bones[name].matrix).to_3x3().col[1] for name in gaze.EYES]


def test_eyes_look_at_an_object():
    head, _ = new_head()
    before = looks(head)
    target = gaze.look_at(head)
    assert gaze.target_of(head) == target and target.parent == head
    assert all(now.angle(then) < 0.05 for now, then in zip(looks(head), before, strict=True))
    target.location.x += 1.0
    assert all(now.angle(then) > 0.1 for now, then in zip(looks(head), before, strict=True))
    cube = bpy.data.objects.new("Other", None)
    bpy.context.scene.collection.objects.link(cube)
    assert gaze.look_at(head, cube) == cube == gaze.target_of(head) and "Head Look At" not in bpy.data.objects
    gaze.stop(head)
    assert gaze.target_of(head) is None and looks(head) == before and "Other" in bpy.data.objects
    gaze.look_at(head).keyframe_insert("location")
    gaze.stop(head)
    assert "Head Look At" in bpy.data.objects, "an animated one stays"


def test_eyes_turn_as_far_as_eyes_do():
    head, _ = new_head()
    target = gaze.look_at(head)
    middle, degrees = target.location.copy(), np.degrees
    for way, (sideways, up) in {
        (9, 0, 0): (30, 0), (-9, 0, 0): (-30, 0), (0, 0, 9): (0, 20), (0, 0, -9): (0, -20), (9, 9, 9): (30, 20),
    }.items():  # fmt: skip
        target.location = middle + Vector(way)
        for look in looks(head):
            found = degrees(np.arctan2(look.x, -look.y)), degrees(np.arcsin(look.z))
            assert abs(found[0] - sideways) < 2.5 and abs(found[1] - up) < 2.5, (way, found)
    target.location = middle * -5  # behind the head
    assert all(look.y < -0.6 for look in looks(head))


def test_lids_follow_the_eyes():
    head, _ = new_head()
    keys = names.face_of(head).data.shape_keys.key_blocks

    def found() -> list[float]:
        graph = bpy.context.evaluated_depsgraph_get()
        graph.update()
        return [names.face_of(head).evaluated_get(graph).data.shape_keys.key_blocks[name].value for name in followers]

    followers = ["Lids Up Left", "Lids Down Left", "Lids Up Right", "Lids Down Right"]
    assert found() == [0, 0, 0, 0]
    armature = names.rig_of(head)
    armature.pose.bones["eye.L"].rotation_euler.x = 0.2
    armature.pose.bones["eye.R"].rotation_euler.x = -0.2
    np.testing.assert_allclose(found(), [0.58, 0, 0, 0.23], atol=1e-5)
    keys["eyeBlinkRight"].value = 0.75
    np.testing.assert_allclose(found(), [0.58, 0, 0, 0.23 * 0.25], atol=1e-5)
    for bone in armature.pose.bones:
        bone.rotation_euler = (0, 0, 0)
    target = gaze.look_at(head)
    target.location.z += 9
    np.testing.assert_allclose(found(), [1, 0, 0.25, 0], atol=0.05)


def test_a_face_made_again_keeps_its_animation():
    head, rig = new_head()
    target = gaze.look_at(head)
    takes.insert(bpy.context.scene, head, some_take(), "Speech")
    bpy.context.scene.frame_set(13)
    before, turned = values(head), list(names.rig_of(head).pose.bones["head"].rotation_euler)
    assert before["jawOpen"] > 0.4 and turned[0] ** 2 + turned[1] ** 2 + turned[2] ** 2 > 0.01
    for part_of in (names.face_of, names.rig_of):
        part_of(head).hide_set(False)
        bpy.context.view_layer.objects.active = part_of(head)
        rigs.insert(rig, head)
        assert gaze.target_of(head) == target and bpy.context.view_layer.objects.active == head
        for frame in (1, 13):
            bpy.context.scene.frame_set(frame)
        assert values(head) == before
        assert list(names.rig_of(head).pose.bones["head"].rotation_euler) == turned
    assert len(list(takes.curves_of(names.face_of(head).data.shape_keys))) == 2


def some_take(count: int = 61, rate: float = 60.0) -> Take:
    weights = np.zeros((count, len(SHAPES)), np.float32)
    weights[:, SHAPES.index("jawOpen")] = np.linspace(0, 1, count)
    head = np.zeros((count, 3), np.float32)
    head[:, 0] = np.linspace(0, 0.5, count)
    return Take(weights, head, np.arange(count) / rate)


def test_captures_become_animation():
    head, rig = new_head()
    scene = bpy.context.scene
    keys = names.face_of(head).data.shape_keys
    for _ in range(2):  # the second replaces the first
        scene.frame_set(11)
        keys.key_blocks["browInnerUp"].value = 0.7
        assert takes.insert(scene, head, some_take(), "Speech") == 25
        assert keys.animation_data.action.name.startswith("Speech")
        assert len(list(takes.curves_of(keys))) == 2 and len(list(takes.curves_of(names.rig_of(head)))) == 3
        for frame in (11, 17, 35):
            scene.frame_set(frame)
            found = values(head)
            assert abs(found["jawOpen"] - (frame - 11) / 24) < 1e-5, (frame, found["jawOpen"])
            assert found[NEUTRAL] == 1 and found["browInnerUp"] == 0
            turned = names.rig_of(head).pose.bones["head"].matrix.to_3x3()
            rest = names.rig_of(head).data.bones["head"].matrix_local.to_3x3()
            expected = Matrix.Rotation(0.5 * (frame - 11) / 24, 3, "Z")
            np.testing.assert_allclose(turned, expected @ rest, atol=1e-5)
        scene.frame_set(23)
        assert np.abs(evaluated(head).positions - kept(rig.gaussians, rig.gaussians).positions).max() > 0.02
    names.rig_of(head).animation_data_clear()
    assert takes.insert(scene, head, some_take(), "Still", turn_head=False) == 25
    assert not list(takes.curves_of(names.rig_of(head)))


def test_hidden_parts_move_the_splats():
    head, rig = new_head()
    weights = some_weights(7)
    shape(head, weights)
    expected = kept(deform(rig, deformed_vertices(rig.mesh, weights)), rig.gaussians)
    for part in (names.face_of(head), names.rig_of(head)):
        part.hide_viewport = part.hide_render = True
    agree(evaluated(head), expected)
    bpy.context.view_layer.update()
    nodes.set_input(nodes.find_modifier(head), "Viewport As", nodes.POINTS)
    agree(attributes.read(head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data), expected)


def test_normals_turn_with_the_splats():
    head, _ = new_head()
    nodes.set_input(nodes.find_modifier(head), "Viewport As", nodes.POINTS)
    count = len(head.data.points)
    normals = np.random.default_rng(0).normal(size=(count, 3))
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    attributes.write_surface(head.data, normals, np.ones((count, 4)))
    names.rig_of(head).pose.bones["neck"].rotation_euler.y = 0.5  # everything turns alike

    def found():
        cloud = head.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        rotations = attributes.get_values(cloud, attributes.ROTATION, 4)
        return attributes.get_values(cloud, attributes.NORMAL, 3), exporting.transforms.rotation_matrices(rotations)

    bpy.context.view_layer.update()
    (turned, after), before = found(), exporting.transforms.rotation_matrices(attributes.read(head.data).rotations)
    seen = 1 / (1 + np.exp(-attributes.read(head.data).opacity_logits)) >= 1 / 255
    expected = np.einsum("nij,nkj,nk->ni", after, before[seen], normals[seen])
    np.testing.assert_allclose(turned, expected, atol=1e-4)
    assert np.abs(turned - normals[seen]).max() > 0.3


def test_copies():
    head, rig = new_head()
    copy = head.copy()
    bpy.context.scene.collection.objects.link(copy)
    assert names.face_of(copy) == names.face_of(head), "shared"
    rigs.insert(rig, copy)
    assert names.face_of(copy) not in (None, names.face_of(head)), "its own"
    for part in (head, names.face_of(head), names.rig_of(head)):
        part.hide_set(False)
        part.select_set(True)
    assert bpy.ops.object.duplicate() == {"FINISHED"}
    other = next(item for item in bpy.context.selected_objects if objects.is_splat_object(item))
    assert names.face_of(other) not in (None, names.face_of(head), names.face_of(copy))
    assert names.head_of(names.face_of(other)) == names.head_of(names.rig_of(other)) == other
    weights = some_weights(9)
    shape(other, weights)
    agree(evaluated(other), kept(deform(rig, deformed_vertices(rig.mesh, weights)), rig.gaussians))
    for still in (head, copy):
        agree(evaluated(still), kept(rig.gaussians, rig.gaussians))


def test_undo_and_redo():
    empty_file()
    rig = make_rig()
    objects.create_splat_object(bpy.context, rig.gaussians[np.arange(OWN)], "Head")
    bpy.ops.ed.undo_push(message="before")
    rigs.insert(rig, bpy.data.objects["Head"])
    bpy.ops.ed.undo_push(message="Rig Face")
    weights = some_weights(8)
    shape(bpy.data.objects["Head"], weights)
    bpy.ops.ed.undo_push(message="posed")
    moved = kept(deform(rig, deformed_vertices(rig.mesh, weights)), rig.gaussians)
    for _ in range(2):
        agree(evaluated(bpy.data.objects["Head"]), moved)
        bpy.ops.ed.undo()
        agree(evaluated(bpy.data.objects["Head"]), kept(rig.gaussians, rig.gaussians))
        bpy.ops.ed.undo()
        head = bpy.data.objects["Head"]
        assert names.head_of(head) is None and len(head.data.points) == OWN and len(head.modifiers) == 1
        bpy.ops.ed.redo()
        bpy.ops.ed.redo()


if __name__ == "__main__":
    run_tests(globals())
