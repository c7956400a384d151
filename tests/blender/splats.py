"""Splats inside Blender, in one process: what is stored, drawn, edited, read and written."""

import bpy
import numpy as np
from from_source import COUNT, FOLDER, empty_file, head, refused, run_tests, some_splats
from mathutils import Matrix

from facelift_blender.splats import attributes, editing, exporting, nodes, objects, scene_settings
from facelift_core.gaussians import files as formats


def stored(cloud):
    widths = {"FLOAT": 1, "BOOLEAN": 1, "FLOAT_VECTOR": 3}
    found = {}
    for name, kind in [(a.name, a.data_type) for a in cloud.attributes]:
        found[name] = (kind, attributes.get_values(cloud, name, widths.get(kind, 4)))
    return found


def evaluated_mesh(item):
    """(V, 3) corners of what `item` is drawn with, through a mesh object, for older Blenders only give those away."""
    viewer = bpy.data.objects.get("Viewer")
    if viewer is None:
        viewer = bpy.data.objects.new("Viewer", bpy.data.meshes.new("Viewer"))
        bpy.context.scene.collection.objects.link(viewer)
        tree = bpy.data.node_groups.new("Viewer", "GeometryNodeTree")
        tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
        info = tree.nodes.new("GeometryNodeObjectInfo")
        info.inputs["Object"].default_value = item
        tree.links.new(info.outputs["Geometry"], tree.nodes.new("NodeGroupOutput").inputs[0])
        viewer.modifiers.new("Viewer", "NODES").node_group = tree
    bpy.context.view_layer.update()
    mesh = viewer.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    corners = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", corners)
    return corners.reshape(-1, 3)


def eevee() -> str:
    """Its name in this Blender."""
    names = bpy.context.scene.render.bl_rna.properties["engine"].enum_items.keys()
    # The module bpy tells of engines only once they are used.
    return next((name for name in names if "EEVEE" in name), "BLENDER_EEVEE")


def close(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert np.abs(found - expected).max() < tolerance, np.abs(found - expected).max()


def test_attributes_survive_saving_to_the_bit():
    for degree in range(4):
        empty_file()
        item = head(degree, metadata={"seed": 4})
        before = stored(item.data)
        assert len(before) >= 5 + (degree + 1) ** 2 - 1
        bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "head.blend"), compress=degree % 2 == 1)
        bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "head.blend"))
        item = bpy.data.objects["Head"]
        after = stored(item.data)
        assert after.keys() == before.keys() and item["seed"] == 4
        for name, (kind, values) in before.items():
            assert after[name][0] == kind and np.array_equal(after[name][1], values), name
        assert nodes.get_input(nodes.find_modifier(item), "Viewport As") == nodes.ANY_VIEW
        assert nodes.get_input(nodes.find_modifier(item), "Render As") == nodes.CAMERA_FACING


def test_older_files_get_the_native_type():
    empty_file()
    item = head()
    kind, values = stored(item.data)[attributes.BASE]
    assert kind == attributes.base_type()
    item.data.attributes.remove(item.data.attributes[attributes.BASE])
    item.data.attributes.new(attributes.BASE, "FLOAT_COLOR", "POINT")
    attributes.set_values(item.data, attributes.BASE, values)
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "old.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "old.blend"))
    kind, after = stored(bpy.data.objects["Head"].data)[attributes.BASE]
    assert kind == attributes.base_type() and np.array_equal(after, values)


def test_import_and_export_are_inverse():
    for degree in (0, 3):
        empty_file()
        before = some_splats(degree)
        formats.write(before, FOLDER / "in.ply")
        assert bpy.ops.facelift.import_splats(filepath=str(FOLDER / "in.ply"), place="FILE") == {"FINISHED"}
        assert bpy.context.object.name == "in" and bpy.context.object.type == "POINTCLOUD"
        assert bpy.ops.facelift.export_splats(filepath=str(FOLDER / "out.ply")) == {"FINISHED"}
        kept = 1 / (1 + np.exp(-before.opacity_logits)) >= 1 / 255
        compare_splats(formats.read(FOLDER / "out.ply"), before[kept])


def compare_splats(after, before):
    close(after.positions, before.positions, 1e-6)
    close(after.sh, before.sh, 1e-5)
    close(after.log_scales, before.log_scales)
    close(after.opacity_logits, before.opacity_logits, 1e-3)
    unit = before.rotations / np.linalg.norm(before.rotations, axis=1, keepdims=True)
    close(np.abs((after.rotations * unit).sum(axis=1)), np.ones(len(after)), 1e-5)


def test_export_applies_the_transform_and_joins():
    empty_file()
    first = head(3)
    first.matrix_world = Matrix.Translation((1, 2, 3)) @ Matrix.Rotation(0.7, 4, "X") @ Matrix.Diagonal((1, 2, 3, 1))
    second = objects.create_splat_object(bpy.context, some_splats(0), "Second", location=(5, 0, 0), scale=0.5)
    count = exporting.export_splats(bpy.context.scene, [first, second], FOLDER / "both.ply")
    found = formats.read(FOLDER / "both.ply")
    alone = exporting.edited(bpy.context.scene, first)
    assert len(found) == count and found.sh_degree == 3
    local = exporting.edited(bpy.context.scene, first, apply_transform=False)
    moved = np.c_[local.positions, np.ones(len(local))] @ np.array(first.matrix_world).T
    close(alone.positions, moved[:, :3].astype(np.float32), 1e-5)
    close(found.positions[: len(alone)], alone.positions, 1e-6)
    close(found.positions[len(alone) :].min(axis=0), some_splats(0).positions.min(axis=0) * 0.5 + [5, 0, 0], 0.2)
    assert len(bpy.data.scenes) == 1 and len(bpy.data.objects) == 3


def test_every_mode_draws_every_gaussian():
    for degree in (0, 1, 2, 3):
        empty_file()
        item = head(degree)
        modifier = nodes.find_modifier(item)
        seen = int((1 / (1 + np.exp(-some_splats(degree).opacity_logits)) >= 1 / 255).sum())
        nodes.set_input(modifier, "Viewport As", nodes.CAMERA_FACING)
        corners = evaluated_mesh(item)
        assert len(corners) == 4 * seen, (len(corners), seen)
        depth = corners.reshape(-1, 4, 3)[:, :, 1]  # the camera looks along Y
        assert np.ptp(depth, axis=1).max() < 1e-4, "quads do not face the camera"
        assert (np.diff(depth[:, 0]) <= 1e-4).all(), "not far to near"
        for mode in (nodes.ANY_VIEW, nodes.POINTS):
            nodes.set_input(modifier, "Viewport As", mode)
            bpy.context.view_layer.update()
            cloud = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
            assert len(cloud.points) == seen, mode
        assert nodes.get_input(modifier, "Viewport As") == nodes.POINTS


def test_quads_follow_camera_and_picture():
    empty_file()
    item = head()
    nodes.set_input(nodes.find_modifier(item), "Viewport As", nodes.CAMERA_FACING)
    scene, camera = bpy.context.scene, bpy.context.scene.camera
    before = evaluated_mesh(item)
    for owner, name, value in (
        (camera.data, "lens", 20.0), (scene.render, "resolution_x", 200), (scene.render, "resolution_percentage", 10),
        (camera, "location", (0.5, -3, 0)), (item, "scale", (1, 2, 1)), (camera.data, "type", "ORTHO"),
    ):  # fmt: skip
        setattr(owner, name, value)
        after = evaluated_mesh(item)
        assert after.shape != before.shape or np.abs(after - before).max() > 1e-6, name
        before = after
    scene.camera = None
    evaluated_mesh(item)


def test_edits_reach_the_export():
    empty_file()
    item = head(3)
    modifier = nodes.find_modifier(item)
    scene = bpy.context.scene
    plain = exporting.edited(scene, item)
    nodes.set_input(modifier, "Minimum Opacity", 0.5)
    opacity = 1 / (1 + np.exp(-plain.opacity_logits))
    assert len(exporting.edited(scene, item)) == (opacity >= 0.5).sum()
    nodes.set_input(modifier, "Minimum Opacity", 0.0)

    nodes.set_input(modifier, "Render Amount", 30.0)
    assert 0.2 * COUNT < len(exporting.edited(scene, item)) < 0.4 * COUNT
    nodes.set_input(modifier, "Render Amount", 100.0)
    nodes.set_input(modifier, "Viewport Amount", 5.0)
    assert len(exporting.edited(scene, item)) == len(plain), "a preview setting reached the export"

    nodes.set_input(modifier, "Size", 2.0)
    nodes.set_input(modifier, "Opacity", 0.5)
    nodes.set_input(modifier, "Saturation", 0.0)
    nodes.set_input(modifier, "Value", 0.5)
    found = exporting.edited(scene, item)
    kept = opacity * 0.5 >= 1 / 255
    close(found.log_scales, plain.log_scales[kept] + np.log(2.0).astype(np.float32))
    close(1 / (1 + np.exp(-found.opacity_logits)), 0.5 * opacity[kept])
    luma = np.array([0.2126, 0.7152, 0.0722])
    close(found.colors, np.repeat(0.5 * (plain.colors[kept] @ luma)[:, None], 3, axis=1))
    close(found.sh[:, 1:], np.repeat(0.5 * (plain.sh[kept, 1:] @ luma)[..., None], 3, axis=2))
    for name, value in (("Size", 1.0), ("Opacity", 1.0), ("Saturation", 1.0), ("Value", 1.0)):
        nodes.set_input(modifier, name, value)

    nodes.set_input(modifier, "Hue", 2 * np.pi / 3)
    close(exporting.edited(scene, item).colors, plain.colors[:, [2, 0, 1]])
    nodes.set_input(modifier, "Hue", 0.0)
    nodes.set_input(modifier, "Tint", (1.0, 0.0, 0.0, 1.0))
    nodes.set_input(modifier, "Exposure", 2.2)
    close(exporting.edited(scene, item).colors, plain.colors * [2.0, 0.0, 0.0])
    nodes.set_input(modifier, "Tint", (1.0, 1.0, 1.0, 1.0))
    nodes.set_input(modifier, "Exposure", 0.0)
    nodes.set_input(modifier, "Density", 2.0)
    close(1 / (1 + np.exp(-exporting.edited(scene, item).opacity_logits)), 1 - (1 - opacity) ** 2, 1e-3)


def test_crop_box():
    empty_file()
    item = head(location=(1, 0, 0))
    item.rotation_euler.z = 0.5
    bpy.context.view_layer.objects.active = item
    everything = len(exporting.edited(bpy.context.scene, item))
    assert bpy.ops.facelift.splats_crop() == {"FINISHED"}
    box = nodes.get_input(nodes.find_modifier(item), "Crop Box")
    assert bpy.context.selected_objects == [box] and bpy.context.object == box
    assert objects.active_splats(bpy.context) == item, "the panel loses the head"
    assert len(exporting.edited(bpy.context.scene, item)) == everything
    box.location, box.scale = (0.2, 0, 0), (0.2, 10, 10)
    found = exporting.edited(bpy.context.scene, item, apply_transform=False)
    plain = some_splats()
    inside = (np.abs(plain.positions[:, 0] - 0.2) <= 0.2) & (1 / (1 + np.exp(-plain.opacity_logits)) >= 1 / 255)
    assert 0 < len(found) == inside.sum() < everything
    nodes.set_input(nodes.find_modifier(item), "Crop Inside", True)
    assert len(exporting.edited(bpy.context.scene, item)) == everything - inside.sum()
    assert bpy.ops.facelift.splats_crop() == {"FINISHED"}
    assert nodes.get_input(nodes.find_modifier(item), "Crop Box") == box
    assert bpy.ops.facelift.splats_uncrop() == {"FINISHED"}
    assert len(exporting.edited(bpy.context.scene, item)) == everything and "Head Crop" not in bpy.data.objects


def test_deleting_selected_points_can_be_taken_back():
    empty_file()
    item = head()
    everything = len(exporting.edited(bpy.context.scene, item))
    refused(lambda: editing.delete_selected(item), "Edit Mode")
    item.data.attributes.new(editing.SELECTION, "BOOLEAN", "POINT")
    chosen = np.arange(COUNT) < 100
    refused(lambda: editing.delete_selected(item), "No points")
    attributes.set_values(item.data, editing.SELECTION, chosen)
    assert editing.delete_selected(item) == 100
    assert len(exporting.edited(bpy.context.scene, item)) < everything - 80
    attributes.set_values(item.data, editing.SELECTION, np.ones(COUNT, bool))
    editing.delete_selected(item)
    refused(lambda: exporting.export_splats(bpy.context.scene, [item], FOLDER / "none.ply"), "nothing to export")
    assert not (FOLDER / "none.ply").exists()
    assert editing.restore_deleted(item) == COUNT
    assert len(exporting.edited(bpy.context.scene, item)) == everything


def test_duplicates_share_the_data_and_nothing_else():
    empty_file()
    item = head()
    bpy.context.view_layer.objects.active = item
    assert bpy.ops.facelift.splats_duplicate() == {"FINISHED"}
    copy = bpy.context.object
    assert copy != item and copy.data == item.data and copy.data.users == 2
    nodes.set_input(nodes.find_modifier(copy), "Size", 3.0)
    assert nodes.get_input(nodes.find_modifier(item), "Size") == 1.0
    assert len([g for g in bpy.data.node_groups if nodes.VERSION_KEY in g]) == 1
    assert len(bpy.data.materials) == 2


def consequences(scene):
    return [setting.consequence for setting in scene_settings.missing_settings(scene)]


def test_scene_settings_are_told_and_set_for_every_engine():
    for engine in ("CYCLES", eevee()):
        empty_file()
        scene = bpy.context.scene
        scene.render.engine = engine
        scene.view_settings.view_transform = "AgX"
        assert consequences(scene) == []
        item = head()
        before = scene.cycles.transparent_max_bounces
        scales, speckles = "Cycles will show dark scales", "Cycles will show speckles"
        assert consequences(scene) == [scales, speckles, "The view transform AgX will change the colors"]
        assert scene.cycles.transparent_max_bounces == before, "asking changed something"
        assert bpy.ops.facelift.apply_render_settings() == {"FINISHED"}
        assert consequences(scene) == [] and scene.view_settings.view_transform == "Standard"
        assert scene.cycles.transparent_max_bounces == scene.cycles.min_transparent_bounces == 1024
        editing.match_viewers(item, True)
        assert consequences(scene) == ["The view transform Standard will change the colors"]


def test_scene_settings_reach_a_viewport_that_is_there():
    empty_file()
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    head()
    bpy.ops.facelift.apply_render_settings()
    scene.cycles.transparent_max_bounces = 8
    scene.update_tag()
    shown = bpy.context.evaluated_depsgraph_get().scene_eval
    assert shown.cycles.transparent_max_bounces == 8
    assert bpy.ops.facelift.apply_render_settings() == {"FINISHED"}
    shown = bpy.context.evaluated_depsgraph_get().scene_eval
    assert shown.cycles.transparent_max_bounces == scene_settings.MAX_TRANSPARENT


def test_real_size_in_any_unit():
    empty_file()
    scene = bpy.context.scene
    metres = objects.head_scale(scene) * objects.HEAD_HEIGHT_IN_UNITS
    assert abs(metres - 0.23) < 1e-6
    scene.unit_settings.scale_length = 0.01  # one Blender unit is a centimetre
    assert abs(objects.head_scale(scene) * objects.HEAD_HEIGHT_IN_UNITS - 23) < 1e-4


def test_other_files_are_refused_with_a_sentence():
    empty_file()
    (FOLDER / "text.ply").write_text("hello")
    (FOLDER / "head.obj").write_text("hello")
    for name, words in (("text.ply", "not a PLY"), ("missing.ply", "does not exist"), ("head.obj", "use .ply")):
        refused(lambda name=name: bpy.ops.facelift.import_splats(filepath=str(FOLDER / name)), words)
    assert not bpy.data.pointclouds
    item = head()
    item.scale.x = 0
    refused(lambda: exporting.export_splats(bpy.context.scene, [item], FOLDER / "flat.ply"), "scaled to zero")
    item.scale.x = 1
    refused(lambda: exporting.export_splats(bpy.context.scene, [item], FOLDER / "no" / "a.ply"), "Cannot write")
    refused(lambda: exporting.export_splats(bpy.context.scene, [item], FOLDER / "a.obj"), "use .ply")
    assert len(bpy.data.scenes) == 1


run_tests(globals())
