"""How splats behave in a scene: rendered by Cycles in one process, and pictures compared with pictures.

python tests/blender/scene.py FOLDER
"""

import bpy
import numpy as np
from bpy.props import EnumProperty
from from_source import COUNT, FOLDER, refused, run_tests, some_splats
from from_source import head as new_head
from mathutils import Matrix
from pictures import different, new_scene, picture, same

from facelift_blender.splats import attributes, editing, exporting, native, nodes, objects, scene_settings
from facelift_blender.splats.viewport import state
from facelift_core.gaussians import files as formats

TURNED = Matrix.Translation((0.1, 0.2, 0.0)) @ Matrix.Rotation(0.8, 4, "Z") @ Matrix.Scale(0.8, 4)
UNEVEN = Matrix.Translation((-0.2, 0.1, 0.1)) @ Matrix.Rotation(0.5, 4, "X") @ Matrix.Diagonal((1.2, 0.7, 0.9, 1.0))


def head(matrix=None, degree=0, **arguments):
    item = new_head(degree, **arguments)
    item.matrix_world = matrix or Matrix()
    return item


def test_heads_that_overlap_in_depth_equal_one_joined():
    new_scene()
    items = [head(), head(TURNED, seed=1, name="Second"), head(UNEVEN, seed=2, name="Third")]
    several = picture()
    exporting.export_splats(bpy.context.scene, items, FOLDER / "joined.ply")
    for item in items:
        bpy.data.objects.remove(item)
    assert bpy.ops.facelift.import_splats(filepath=str(FOLDER / "joined.ply")) == {"FINISHED"}
    same(several, picture(), 50)


def test_joining_changes_no_picture():
    scene = new_scene()
    first = head(UNEVEN, degree=1)
    second = head(TURNED, seed=1, name="Second")
    copy = editing.duplicate_as_instance(second)
    copy.matrix_world = Matrix.Translation((0.2, -0.1, -0.1)) @ TURNED
    for item in (first, second, copy):
        nodes.set_input(nodes.find_modifier(item), "Match Viewers", True)
    plain = picture()
    nodes.set_input(nodes.find_modifier(second), "Saturation", 0.2)
    box = editing.add_crop_box(first)
    box.location.x += 0.2
    before = picture()
    different(before, plain)
    bpy.ops.object.select_all(action="DESELECT")
    bpy.context.view_layer.objects.active = first
    first.select_set(True)
    refused(bpy.ops.facelift.splats_join, "at least two")
    for item in (second, copy):
        item.select_set(True)
    assert bpy.ops.facelift.splats_join() == {"FINISHED"}
    assert set(scene.objects) == {first, scene.camera} and len(first.data.points) > 2 * COUNT
    same(picture(), before, 55)
    head(name="Third").select_set(True)
    bpy.data.objects["Third"].scale.x = 0
    refused(bpy.ops.facelift.splats_join, "scaled to zero")
    assert set(scene.objects) == {first, scene.camera, bpy.data.objects["Third"]}, "a refusal removed something"


def test_linked_duplicates_stand_on_their_own():
    new_scene()
    item = head(TURNED)
    assert bpy.ops.facelift.splats_duplicate() == {"FINISHED"}
    copy = bpy.context.object
    copy.matrix_world = UNEVEN
    copy_picture = picture()
    assert copy.data == item.data
    new_scene()
    head(TURNED)
    head(UNEVEN, name="Other")
    same(copy_picture, picture(), 80)


def instance_of(item, matrix):
    """An empty with `matrix` that shows a collection with `item`, which is nowhere else."""
    scene = bpy.context.scene
    collection = bpy.data.collections.new("Library")
    for other in list(item.users_collection):
        other.objects.unlink(item)
    collection.objects.link(item)
    empty = bpy.data.objects.new("Instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", collection
    empty.matrix_world = matrix
    scene.collection.objects.link(empty)
    bpy.context.view_layer.update()
    return empty


def test_collection_instances():
    matrix = Matrix.Translation((0.3, 0.0, 0.1)) @ Matrix.Rotation(1.2, 4, "Z")
    truth = {}
    for mode in (nodes.CAMERA_FACING, nodes.ANY_VIEW):
        new_scene()
        editing.show_as(head(matrix @ TURNED), mode, render=True, viewport=False)
        truth[mode] = picture()
    scene = new_scene()
    item = head(TURNED)
    assert scene_settings.missing_settings(scene) == [] and editing.instancers(scene, item) == []
    refused(lambda: editing.make_instances_real(bpy.context, item), "No visible collection instance")
    empty = instance_of(item, matrix)
    different(picture(), truth[nodes.CAMERA_FACING])
    assert editing.instancers(scene, item) == [empty]
    changes = [setting.change for setting in scene_settings.missing_settings(scene)]
    assert changes == ["“Head” as Any View"]
    assert bpy.ops.facelift.apply_render_settings() == {"FINISHED"}
    assert scene_settings.missing_settings(scene) == []
    assert nodes.get_input(nodes.find_modifier(item), "Render As") == nodes.ANY_VIEW
    same(picture(), truth[nodes.ANY_VIEW], 45)

    # In an instance of an instance, too; and as objects of their own they face the camera.
    editing.show_as(item, nodes.CAMERA_FACING, render=True, viewport=False)
    outer = bpy.data.collections.new("Outer")
    outer.objects.link(empty)
    scene.collection.objects.unlink(empty)
    second = bpy.data.objects.new("Outside", None)
    second.instance_type, second.instance_collection = "COLLECTION", outer
    scene.collection.objects.link(second)
    bpy.context.view_layer.update()
    assert editing.instancers(scene, item) == [second]
    assert editing.make_instances_real(bpy.context, item) == 1
    same(picture(), truth[nodes.CAMERA_FACING], 80)
    made = [other for other in scene.objects if objects.is_splat_object(other)]
    assert len(made) == 1 and made[0] != item and made[0].data == item.data


def test_animation_of_object_and_camera():
    scene = new_scene()
    item, camera = head(degree=2), scene.camera
    for frame, place, turn, lens in ((1, -0.3, 0.0, 50.0), (11, 0.3, 1.0, 70.0)):
        item.location.x, item.rotation_euler.z, camera.data.lens = place, turn, lens
        camera.location.z = place
        for owner, path in ((item, "location"), (item, "rotation_euler"), (camera, "location"), (camera.data, "lens")):
            owner.keyframe_insert(path, frame=frame)
    seen = {}
    for frame in (11, 1, 6):
        scene.frame_set(frame)
        seen[frame] = picture(), item.matrix_world.copy(), camera.location.z, camera.data.lens
    different(seen[1][0], seen[6][0])
    for found, matrix, height, lens in seen.values():
        scene = new_scene()
        head(matrix, degree=2)
        scene.camera.location.z, scene.camera.data.lens = height, lens
        same(found, picture(), 70)


def test_view_layers_and_holdout():
    scene = new_scene()
    left, right = (bpy.data.collections.new(name) for name in ("Left", "Right"))
    for collection, x in ((left, -0.5), (right, 0.5)):
        scene.collection.children.link(collection)
        head(Matrix.Translation((x, 0, 0)), name=collection.name, collection=collection)
    both = picture()
    only = {}
    for name, other in (("Left", "Right"), ("Right", "Left")):
        layer = scene.view_layers.new(name)
        layer.layer_collection.children[other].exclude = True
        only[name] = picture(name)
    middle = both.shape[1] // 2
    assert only["Left"][:, : middle - 30, 3].max() > 0.1 > only["Left"][:, middle + 30 :, 3].max()
    assert only["Right"][:, middle + 30 :, 3].max() > 0.1 > only["Right"][:, : middle - 30, 3].max()
    layer = scene.view_layers.new("Cut")
    layer.layer_collection.children["Right"].holdout = True
    bpy.data.objects["Right"].location.x = -0.5
    bpy.data.objects["Right"].location.y = -0.5
    cut = picture("Cut")
    assert cut[..., 3].sum() < 0.5 * only["Left"][..., 3].sum(), "nothing is cut out"


def test_transparent_film():
    new_scene()
    head()
    clear = picture()
    empty = clear[..., 3] == 0
    assert 0.2 < empty.mean() < 0.95 and clear[empty][:, :3].max() < 1e-6
    assert clear[..., 3].max() <= 1.0 and ((clear[..., 3] > 0.05) & (clear[..., 3] < 0.95)).mean() > 0.02
    scene = bpy.context.scene
    world = bpy.data.worlds.new("White")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    scene.world = world
    scene.render.film_transparent = False
    solid = picture()
    over = clear[..., :3] + 1.0 - clear[..., 3:]
    same(np.dstack([over, np.ones_like(empty)]), np.dstack([solid[..., :3], np.ones_like(empty)]), 60)


def test_what_was_edited_and_exported_looks_the_same():
    for degree, matrix in ((0, UNEVEN), (1, TURNED), (3, TURNED)):
        new_scene()
        item = head(matrix, degree)
        modifier = nodes.find_modifier(item)
        plain = picture()
        for name, value in (("Size", 1.3), ("Density", 1.5), ("Saturation", 0.6), ("Exposure", 0.4),
                            ("Minimum Opacity", 0.3), ("Render Amount", 70.0)):  # fmt: skip
            nodes.set_input(modifier, name, value)
        assert bpy.ops.facelift.splats_crop() == {"FINISHED"}
        box = nodes.get_input(modifier, "Crop Box")
        box.location.x += 0.25
        edited = picture()
        different(edited, plain)
        assert bpy.ops.facelift.export_splats(filepath=str(FOLDER / "edited.ply")) == {"FINISHED"}
        for other in (box, item):
            bpy.data.objects.remove(other)
        assert bpy.ops.facelift.import_splats(filepath=str(FOLDER / "edited.ply")) == {"FINISHED"}
        same(picture(), edited, 55)


def test_deleted_points_are_not_rendered():
    new_scene()
    item = head()
    everything = picture()
    item.data.attributes.new(editing.SELECTION, "BOOLEAN", "POINT")
    chosen = some_splats().positions[:, 0] > 0
    attributes.set_values(item.data, editing.SELECTION, chosen)
    assert bpy.ops.facelift.splats_delete_selected() == {"FINISHED"}
    rest = picture()
    assert rest[..., 3].sum() < 0.7 * everything[..., 3].sum()
    assert bpy.ops.facelift.splats_restore_deleted() == {"FINISHED"}
    same(picture(), everything, 100)


def test_viewport_drawing_never_reaches_renders():
    scene = new_scene()
    item = head()
    before = picture()
    # As if a window showed Solid shading: the viewport's geometry changes, renders do not.
    state._drawn = True
    state._evaluate_again()
    bpy.context.view_layer.update()
    cloud = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    assert attributes.DRAWN in cloud.attributes and state.drawn(scene)
    radius = attributes.get_values(cloud, "radius", 1)
    assert 0 < radius.max() < 0.03
    same(picture(), before, 100)
    for mode in (nodes.POINTS, nodes.CAMERA_FACING):
        editing.show_as(item, mode, render=False, viewport=True)
        data = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        assert attributes.DRAWN not in getattr(data, "attributes", {})
    editing.show_as(item, nodes.ANY_VIEW, render=False, viewport=True)
    scene.facelift_draw_splats = False
    bpy.context.view_layer.update()
    cloud = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    assert attributes.DRAWN not in cloud.attributes and not state.drawn(scene)
    state._drawn = False
    state._evaluate_again()
    assert not state._wanted(), "background mode has no viewports"


def test_scale_and_up_axis_of_an_import():
    new_scene()
    formats.write(some_splats(), FOLDER / "plain.ply")
    bpy.context.scene.cursor.location = (1, 2, 3)
    path = str(FOLDER / "plain.ply")
    assert bpy.ops.facelift.import_splats(filepath=path, scale=2.5, up_axis="Y", at_cursor=True) == {"FINISHED"}
    item = bpy.context.object
    bpy.context.view_layer.update()
    assert item.matrix_world == Matrix.Translation((1, 2, 3)), "the object has a scale or a rotation"
    found, given = attributes.read(item.data), some_splats()
    turned = 2.5 * given.positions[:, [0, 2, 1]] * [1, -1, 1]
    assert np.allclose(found.positions, turned, atol=1e-5), "Y of the file is not up"
    assert np.allclose(found.log_scales, given.log_scales + np.log(2.5), atol=1e-5)


def test_files_that_are_dropped():
    new_scene()
    for name in ("one", "two"):
        formats.write(some_splats(seed=len(name)), FOLDER / f"{name}.ply")
    handler = bpy.types.FileHandler.bl_rna_get_subclass_py("FACELIFT_FH_splats")
    assert handler.bl_import_operator == "facelift.import_splats" and handler.bl_file_extensions.startswith(
        ".ply;.spz;"
    )

    class Fake:
        area = None

    assert not handler.poll_drop(Fake)
    Fake.area = type("Area", (), {"type": "VIEW_3D"})
    assert handler.poll_drop(Fake)
    Fake.area = type("Area", (), {"type": "NODE_EDITOR"})
    assert not handler.poll_drop(Fake)
    # As Blender calls it for a drop: with a folder and names, and invoked.
    files = [{"name": "one.ply"}, {"name": "two.ply"}]
    assert bpy.ops.facelift.import_splats("INVOKE_DEFAULT", directory=str(FOLDER), files=files) == {"FINISHED"}
    assert {"one", "two"} <= set(bpy.data.objects.keys())


def ply(names: list[str], rows: np.ndarray, count: int | None = None) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows) if count is None else count}"]
    lines += [f"property float {name}" for name in names] + ["end_header", ""]
    return "\n".join(lines).encode() + np.ascontiguousarray(rows, "<f4").tobytes()


def test_files_of_other_programs():
    draw = np.random.default_rng(5)
    base = ["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
    shape = [f"scale_{k}" for k in range(3)] + [f"rot_{k}" for k in range(4)]
    for rest, degree in ((0, 0), (9, 1), (24, 2), (45, 3)):
        new_scene()
        names = base + [f"f_rest_{k}" for k in range(rest)] + shape
        rows = draw.normal(size=(50, len(names))) * 0.3
        rows[:, names.index("scale_0") : names.index("scale_0") + 3] -= 2.5
        (FOLDER / "foreign.ply").write_bytes(ply(names, rows))
        assert bpy.ops.facelift.import_splats(filepath=str(FOLDER / "foreign.ply")) == {"FINISHED"}
        assert attributes.sh_bases(bpy.context.object.data) == (degree + 1) ** 2
        assert picture()[..., 3].max() > 0, "not rendered"
    names = ["x", "y", "z", *shape, "opacity"]
    (FOLDER / "grey.ply").write_bytes(ply(names, draw.normal(size=(50, len(names)))))
    refused(lambda: bpy.ops.facelift.import_splats(filepath=str(FOLDER / "grey.ply")), "f_dc_0")
    (FOLDER / "huge.ply").write_bytes(ply([*names, "f_dc_0", "f_dc_1", "f_dc_2"], np.zeros((3, 14)), 2_000_000_000))
    refused(lambda: bpy.ops.facelift.import_splats(filepath=str(FOLDER / "huge.ply")), "huge.ply")


def test_blender_with_splats_of_its_own():
    """With a property in the place of Blender 5.3's type before it."""
    new_scene()
    real = native.available()
    if real:
        kind, splats, points = native.type_property(bpy.types.PointCloud)
    else:
        item = head()
        assert not native.is_native(item) and native.adopt() == 0
        kind, splats, points = "type", "GAUSSIAN_SPLAT", "POINT"
        bpy.types.PointCloud.type = EnumProperty(items=[(points, "Points", ""), (splats, "3D Gaussian Splats", "")])
        assert native.available() and not native.is_native(item)
    item = head(name="Made here")
    copy = editing.duplicate_as_instance(item)
    modifier = nodes.find_modifier(item)
    assert not native.is_native(item) and modifier.show_render and len(item.data.materials) == 2
    exact = picture()
    assert bpy.ops.facelift.splats_native(on=True) == {"FINISHED"}
    assert native.is_native(item) and not modifier.show_render and not modifier.show_viewport
    assert native.is_native(copy) and not nodes.find_modifier(copy).show_render
    assert len(item.data.materials) == 0, "Blender's own splats would be drawn with the modifier's material"
    if real:
        bpy.context.scene.cycles.samples = 64
        same(picture(), exact, 18)
        different(picture(), exact)
        bpy.context.scene.cycles.samples = 1
    assert bpy.ops.facelift.splats_native(on=False) == {"FINISHED"}
    assert getattr(item.data, kind) == points and modifier.show_render and modifier.show_viewport
    same(picture(), exact, 100)

    # What is stored decides, also in a file from before: nothing becomes native, or stops to be, when it is opened.
    other = head(name="Native", seed=1)
    native.set_native(other, True)
    for cloud in (item.data, other.data):
        values = attributes.get_values(cloud, attributes.BASE, 4)
        cloud.attributes.remove(cloud.attributes[attributes.BASE])
        cloud.attributes.new(attributes.BASE, "FLOAT_COLOR", "POINT")
        attributes.set_values(cloud, attributes.BASE, values)
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "before.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "before.blend"))
    item, other = bpy.data.objects["Made here"], bpy.data.objects["Native"]
    assert not native.is_native(item) and native.is_native(other)
    assert nodes.find_modifier(item).show_render and not nodes.find_modifier(other).show_render
    for one in (item, other):
        assert one.data.attributes[attributes.BASE].data_type == attributes.base_type()
    if not real:
        del bpy.types.PointCloud.type


def test_splats_that_blender_imported_itself():
    """From 5.3 on: the same attributes as ours, and the same picture once our modifier draws them."""
    new_scene()
    item = head(degree=3)
    exact = picture()
    own = {name: attributes.get_values(item.data, name, width) for name, width in (
        (attributes.POSITION, 3), (attributes.SCALE, 3), (attributes.ROTATION, 4), (attributes.BASE, 4),
        *((attributes.sh_name(k), 3) for k in range(15)))}  # fmt: skip
    formats.write(some_splats(3), FOLDER / "plain.ply")
    bpy.data.objects.remove(item)
    bpy.ops.wm.ply_import(filepath=str(FOLDER / "plain.ply"), forward_axis="Y", up_axis="Z")
    item = bpy.context.object
    if not native.available():
        assert item.type == "MESH" and not objects.is_splat_object(item)
        return
    assert objects.is_splat_object(item) and native.is_native(item) and nodes.find_modifier(item) is None
    for name, values in own.items():
        found = attributes.get_values(item.data, name, values.shape[1])
        np.testing.assert_array_max_ulp(found, values, 2)
    exporting.export_splats(bpy.context.scene, [item], FOLDER / "native.ply")
    native_file = formats.read(FOLDER / "native.ply")
    np.testing.assert_array_equal(native_file.positions, some_splats(3).positions)
    np.testing.assert_array_equal(native_file.sh, some_splats(3).sh)
    assert bpy.ops.facelift.splats_show_as(mode=nodes.CAMERA_FACING, render=True) == {"FINISHED"}
    assert not native.is_native(item) and nodes.find_modifier(item).show_render
    same(picture(), exact, 80)


def test_splats_that_nodes_make():
    scene = new_scene()
    item = head()
    exact = picture()
    assert not native.made_by_nodes(item) and not native.made_by_nodes(None)
    group = bpy.data.node_groups.new("Maker", "GeometryNodeTree")
    group.interface.new_socket("Geometry", in_out="INPUT", socket_type="NodeSocketGeometry")
    group.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    mesh = bpy.data.objects.new("Maker", bpy.data.meshes.new("Maker"))
    scene.collection.objects.link(mesh)
    mesh.modifiers.new("Maker", "NODES").node_group = group
    assert not native.made_by_nodes(mesh)
    if not native.available():
        return
    info = group.nodes.new("GeometryNodeObjectInfo")
    info.inputs["Object"].default_value = item
    kind = group.nodes.new("GeometryNodePointsSetType")
    kind.inputs["Type"].default_value = "3D Gaussian Splat"
    nodes.find_modifier(item).show_render = nodes.find_modifier(item).show_viewport = False
    item.hide_render = True
    group.links.new(info.outputs["Geometry"], kind.inputs[0])
    group.links.new(kind.outputs[0], group.nodes.new("NodeGroupOutput").inputs[0])
    assert native.made_by_nodes(mesh)
    mesh.matrix_world = Matrix.Translation((1, 0, 0))
    bpy.context.view_layer.objects.active = mesh
    assert bpy.ops.facelift.export_splats(filepath=str(FOLDER / "made.ply")) == {"FINISHED"}
    np.testing.assert_allclose(formats.read(FOLDER / "made.ply").positions,
                               some_splats().positions + np.array([1, 0, 0]), atol=1e-6)  # fmt: skip
    mesh.matrix_world = Matrix()
    assert bpy.ops.facelift.splats_from_nodes() == {"FINISHED"}
    assert objects.is_splat_object(bpy.context.object) and mesh.hide_render
    same(picture(), exact, 80)


run_tests(globals())
