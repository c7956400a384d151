"""What artists do with heads next: bones, keyframes, libraries, assets, renders elsewhere. In one process."""

import subprocess
import sys

import bpy
import numpy as np
from from_source import FOLDER, run_tests
from from_source import head as new_head
from mathutils import Matrix
from pictures import different, new_scene, picture, same

from facelift_blender.splats import assets, attributes, menus, nodes

TURNED = Matrix.Translation((0.1, 0.2, 0.0)) @ Matrix.Rotation(0.8, 4, "Z") @ Matrix.Scale(0.8, 4)


def head(matrix=None, degree=0, **arguments) -> bpy.types.Object:
    item = new_head(degree, **arguments)
    item.matrix_world = matrix or Matrix()
    bpy.context.view_layer.update()
    return item


def saved(name: str) -> str:
    path = str(FOLDER / f"{name}.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    return path


def brought_in(path: str, *, link: bool) -> bpy.types.Object:
    """The object Head of another file, in a new scene."""
    new_scene()
    with bpy.data.libraries.load(path, link=link) as (_, to):
        to.objects = ["Head"]
    (item,) = to.objects
    bpy.context.scene.collection.objects.link(item)
    bpy.context.view_layer.update()
    return item


def test_a_head_on_a_bone_follows_the_pose():
    scene = new_scene()
    rig = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    bone = rig.data.edit_bones.new("Neck")
    bone.head, bone.tail = (0, 0, -0.3), (0, 0, 0)
    bpy.ops.object.mode_set(mode="OBJECT")
    item = head(degree=1)
    item.parent, item.parent_type, item.parent_bone = rig, "BONE", "Neck"
    posed = rig.pose.bones["Neck"]
    posed.rotation_mode = "XYZ"
    for frame, turn in ((1, (0, 0, 0)), (11, (0.3, 0.9, 0.2))):
        posed.rotation_euler = turn
        posed.keyframe_insert("rotation_euler", frame=frame)
    seen = {}
    for frame in (1, 11, 6):
        scene.frame_set(frame)
        seen[frame] = picture(), item.matrix_world.copy()
    different(seen[1][0], seen[11][0])
    for found, matrix in seen.values():
        new_scene()
        head(matrix, degree=1)
        same(found, picture(), 60)


def test_inputs_with_keyframes():
    scene = new_scene()
    modifier = nodes.find_modifier(head())
    path = nodes.input_identifier(modifier.node_group, "Saturation")
    for frame, value in ((1, 1.0), (11, 0.0)):
        nodes.set_input(modifier, "Saturation", value)
        if hasattr(modifier, "properties"):  # Blender 5.2
            getattr(modifier.properties.inputs, path).keyframe_insert("value", frame=frame)
        else:
            modifier.id_data.keyframe_insert(f'modifiers["{modifier.name}"]["{path}"]', frame=frame)
    scene.frame_set(1)
    colorful = picture()
    scene.frame_set(11)
    found = picture()
    different(found, colorful)
    new_scene()
    nodes.set_input(nodes.find_modifier(head()), "Saturation", 0.0)
    same(found, picture(), 60)


def test_linked_appended_and_overridden():
    new_scene()
    head(TURNED, degree=1)
    truth = picture()
    path = saved("library")
    for link in (False, True):
        item = brought_in(path, link=link)
        assert (item.library is not None) == link
        same(picture(), truth, 90)
        # Among the user's own heads, and the other way round.
        head(Matrix.Translation((0.5, 0, 0)), degree=1, name="Own")
        bpy.data.objects.remove(item)
        assert picture()[..., 3].max() > 0.5
    item = brought_in(path, link=True).override_create()
    scene = bpy.context.scene
    for other in list(scene.collection.objects):
        if other.type == "POINTCLOUD":
            scene.collection.objects.unlink(other)
    scene.collection.objects.link(item)
    item.location.x += 0.3
    bpy.context.view_layer.update()
    found = picture()
    different(found, truth)
    new_scene()
    head(Matrix.Translation((0.3, 0, 0)) @ TURNED, degree=1)
    same(found, picture(), 60)


def test_assets_have_a_preview_and_keep_everything():
    new_scene()
    item = head(TURNED, degree=1)
    truth = picture()
    assert bpy.ops.facelift.splats_mark_asset() == {"FINISHED"}
    path = saved("assets")
    item = brought_in(path, link=False)
    assert item.asset_data is not None
    same(picture(), truth, 90)
    pixels = np.array(item.preview.image_pixels_float[:]).reshape(assets.SIDE, assets.SIDE, 4)
    middle = assets.SIDE // 2
    assert pixels[middle, middle, 3] > 0.8 > 0.1 > pixels[0, 0, 3], (pixels[middle, middle], pixels[0, 0])
    expected = attributes.read(item.data).colors.clip(0, 1).mean(axis=0)
    part = slice(middle - 20, middle + 20)
    assert np.abs(pixels[part, part, :3].mean(axis=(0, 1)) - expected).max() < 0.15


def test_menus_offer_our_exporter_first():
    new_scene()

    class Layout:
        def __init__(self):
            self.operators = []

        def operator(self, name, **_):
            self.operators.append(name)

        def separator(self):
            pass

    class Menu:
        layout = Layout()

    for chosen, draw, other in (
        (True, menus._draw_export_first, menus._draw_export_last),
        (False, menus._draw_export_last, menus._draw_export_first),
    ):
        head(name="Head").select_set(chosen)
        Menu.layout = Layout()
        other(Menu, bpy.context)
        assert Menu.layout.operators == []
        draw(Menu, bpy.context)
        assert Menu.layout.operators[0] == "facelift.export_splats"
        bpy.ops.object.select_all(action="DESELECT")
    Menu.layout = Layout()
    menus._draw_convert(Menu, bpy.context)
    assert Menu.layout.operators == ["facelift.make_mesh"]


def test_overrides_of_a_view_layer():
    scene = new_scene()
    head()
    plain = picture()
    clay = bpy.data.materials.new("Clay")
    scene.view_layers[0].material_override = clay
    different(picture(), plain)
    scene.view_layers[0].material_override = None
    scene.view_layers[0].samples = 4
    same(picture(), plain, 30)


def test_a_file_renders_the_same_without_the_extension():
    new_scene()
    head(TURNED, degree=1)
    before = picture()
    path = saved("elsewhere")
    render = (
        f"import bpy; bpy.ops.wm.open_mainfile(filepath={path!r}); "
        f"bpy.context.scene.render.filepath = {str(FOLDER / 'elsewhere.exr')!r}; "
        "assert not hasattr(bpy.types, 'FACELIFT_PT_splats'); bpy.ops.render.render(write_still=True)"
    )
    done = subprocess.run([sys.executable, "-c", render], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    image = bpy.data.images.load(str(FOLDER / "elsewhere.exr"))
    image.colorspace_settings.name = "Non-Color"
    same(np.array(image.pixels[:], np.float32).reshape(before.shape), before, 100)


run_tests(globals())
