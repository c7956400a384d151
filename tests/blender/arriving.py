"""New heads in a scene, in one process: how large they are, where they stand, and what viewports show of them."""

from dataclasses import replace
from itertools import pairwise

import bpy
import numpy as np
from from_source import FOLDER, run_tests, some_splats
from mathutils import Euler, Vector

from facelift_blender.jobs.folders import Finished
from facelift_blender.reconstruct import insert_head
from facelift_blender.splats import attributes, objects, placement
from facelift_blender.splats.viewport import framing
from facelift_core.gaussians import files as formats


def arrived(scale=1.5, seed=0) -> bpy.types.Object:
    """A head as a finished reconstruction brings it in."""
    splats = some_splats(1, seed)
    formats.write(splats, FOLDER / "head.ply")
    head = Finished(FOLDER, {"photo": "anna.jpg", "head": "head.ply"}, claimed=False)
    return insert_head.add_head(head, bpy.context.scene, scale)


def factory() -> bpy.types.Scene:
    bpy.ops.wm.read_factory_settings()
    framing._file_loaded()  # attached in windows only
    return bpy.context.scene


def box(item) -> tuple[np.ndarray, np.ndarray]:
    bpy.context.view_layer.update()
    return placement.box(item)


def view() -> bpy.types.SpaceView3D:
    return next(space for _, space, _ in framing._viewports())


def seen(item) -> tuple[np.ndarray, float]:
    """(8, 2) corners of the object's box in the picture, −1 to 1 at the edges; how much of its height the box fills."""
    space = view()
    region = next(region for _, _, region in framing._viewports())
    turn, distance = space.region_3d.view_rotation, space.region_3d.view_distance
    eye = space.region_3d.view_location + turn @ Vector((0, 0, distance))
    low, high = box(item)
    corners = []
    for x in (low[0], high[0]):
        for y in (low[1], high[1]):
            for z in (low[2], high[2]):
                corner = turn.inverted() @ (Vector((x, y, z)) - eye)
                corners.append((corner.x / -corner.z, corner.y / -corner.z))
    sides = np.array([region.width, region.height])
    corners = np.array(corners) * space.lens / 36 * sides.max() / sides
    return corners, np.ptp(corners[:, 1]) / 2


def test_scale_is_in_the_gaussians_and_the_head_stands_on_its_origin():
    scene = factory()
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    scene.unit_settings.scale_length = 0.1
    item = arrived()
    assert tuple(item.scale) == (1, 1, 1) and tuple(item.location) == (0, 0, 0)
    low, high = box(item)
    assert abs(low[2]) < 1e-5 < high[2]
    found, given = attributes.read(item.data), some_splats(1)
    factor = 1.5 * objects.head_scale(scene)
    assert np.allclose(found.log_scales, given.log_scales + np.log(factor), atol=1e-5)
    assert np.allclose(np.ptp(found.positions, axis=0), np.ptp(given.positions, axis=0) * factor, rtol=1e-4)


def test_heads_stand_beside_what_is_there_and_in_a_row():
    factory()
    heads = [arrived(seed=seed) for seed in range(3)]
    boxes = [box(bpy.data.objects["Cube"]), *map(box, heads)]
    for (_, high), (low, _) in pairwise(boxes):
        assert 0 < low[0] - high[0] < 0.2, "not beside"
    assert all(tuple(item.location.yz) == (0, 0) for item in heads)
    assert bpy.context.selected_objects == heads[-1:] and bpy.context.object == heads[-1]


def test_a_cursor_that_was_moved_says_where():
    scene = factory()
    scene.cursor.location = (0.1, 0.2, 0.3)
    first, second = arrived(), arrived(seed=1)
    assert (first.location - scene.cursor.location).length < 1e-6, "inside the cube, as asked"
    assert second.location.x > 0.2 and np.allclose(second.location.yz, (0.2, 0.3))


def test_floors_rooms_and_what_is_hidden_are_no_obstacles():
    factory()
    bpy.data.objects["Cube"].hide_set(True)
    bpy.ops.mesh.primitive_plane_add(size=1)
    bpy.ops.mesh.primitive_cube_add(size=6)
    assert tuple(arrived().location) == (0, 0, 0)


def test_viewports_that_nobody_has_moved_show_new_heads():
    factory()
    first = arrived()
    corners, share = seen(first)
    assert np.abs(corners).max() < 1 and 0.5 < share < 0.98, (corners, share)
    forward = view().region_3d.view_rotation @ Vector((0, 0, -1))
    assert forward.y > 0.8, "not from the front"
    second = arrived(seed=1)
    for item in (first, second):
        assert np.abs(seen(item)[0]).max() < 1, "not both in view"


def test_viewports_that_were_moved_stay():
    factory()
    view().region_3d.view_distance = 5.0
    arrived()
    assert view().region_3d.view_distance == 5.0
    factory()
    arrived()
    view().region_3d.view_rotation = Euler((1, 0, 1)).to_quaternion()
    before = framing._state(view())
    arrived(seed=1)
    assert framing._state(view()) == before
    # A file that was saved has the view that its author wants.
    factory()
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "saved.blend"), load_ui=True)
    framing._file_loaded()
    before = framing._state(view())
    arrived()
    assert framing._state(view()) == before


def test_frame_head_follows_the_head():
    factory()
    item = arrived()
    item.rotation_euler.z, item.location = 2.0, (5, 6, 7)
    bpy.context.view_layer.update()
    view().region_3d.view_distance = 100.0
    screen = next(screen for screen in bpy.data.screens if screen.name == "Layout")
    area = next(area for area in screen.areas if area.type == "VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    window = bpy.data.window_managers[0].windows[0]
    with bpy.context.temp_override(window=window, area=area, region=region):
        assert bpy.ops.facelift.frame_head() == {"FINISHED"}
    corners, share = seen(item)
    assert np.abs(corners).max() < 1 and 0.5 < share < 0.98, (corners, share)
    face = item.matrix_world.to_3x3() @ Vector((0, -1, 0))
    assert (view().region_3d.view_rotation @ Vector((0, 0, 1))).dot(face) > 0.8, "not the face"


def bust(count=4000) -> np.ndarray:
    """(N, 3) positions of a head above shoulders that are cut off at −1, where the model has them."""
    draw = np.random.default_rng(3)
    skull = draw.normal(size=(count, 3))
    skull *= np.array([0.5, 0.55, 0.6]) / np.linalg.norm(skull, axis=1, keepdims=True)
    shoulders = draw.uniform((-0.85, -0.5, -1.0), (0.85, 0.5, -0.6), (count // 2, 3))
    return np.concatenate([skull + np.array([0.0, -0.05, 0.1]), shoulders]).astype(np.float32)


def written(positions: np.ndarray) -> str:
    path = FOLDER / "file.ply"
    formats.write(replace(some_splats(1, count=len(positions)), positions=positions.astype(np.float32)), path)
    return str(path)


def imported(positions: np.ndarray, **options) -> bpy.types.Object:
    assert bpy.ops.facelift.import_splats(filepath=written(positions), **options) == {"FINISHED"}
    return bpy.context.object


def test_files_of_heads_arrive_like_reconstructed_ones():
    scene = factory()
    scene.unit_settings.scale_length = 0.1
    item = imported(bust())
    low, _ = box(item)
    assert low[0] > box(bpy.data.objects["Cube"])[1][0] and abs(low[2]) < 1e-5, "not on the floor beside the cube"
    factor = objects.head_scale(scene)
    found = attributes.read(item.data)
    assert np.allclose(np.ptp(found.positions, axis=0), np.ptp(bust(), axis=0) * factor, rtol=1e-4)
    assert np.allclose(found.log_scales, some_splats(1, count=len(found)).log_scales + np.log(factor), atol=1e-5)
    assert np.allclose(item["facelift_placing"], (factor, -factor * np.quantile(bust()[:, 2], 0.005)), rtol=1e-4)
    assert np.abs(seen(item)[0]).max() < 1 and seen(item)[1] > 0.3, "not in view"
    second = imported(bust())
    assert box(second)[0][0] > box(item)[1][0], "one in the other"
    # From a file with Y up, larger, and at the cursor.
    scene.cursor.location = (1, 2, 3)
    turned = bust()[:, [0, 2, 1]] * [1, 1, -1]
    item = imported(turned, up_axis="Y", scale=2.0, at_cursor=True)
    assert tuple(item.location) == (1, 2, 3) and abs(box(item)[0][2] - 3) < 1e-4
    assert abs(np.ptp(attributes.read(item.data).positions[:, 2]) / (2 * factor * np.ptp(bust()[:, 2])) - 1) < 1e-4


def test_other_files_keep_their_place():
    draw = np.random.default_rng(4)
    ball = draw.normal(size=(4000, 3))
    ball *= 0.99 / np.linalg.norm(ball, axis=1, keepdims=True)
    scans = {
        "a scan": draw.uniform(-4, 6, (4000, 3)),
        "in a cube": draw.uniform(-1, 1, (4000, 3)),
        "on a ball": ball,
        "a small thing": bust() * 0.4,
        "a head that was moved": bust() + np.float32([0, 0, 1]),
        "a head that lies": bust()[:, [0, 2, 1]],
        "a reconstructed head that was exported": bust() * 0.174 + np.float32([1.5, 0, 0.174]),
    }
    for name, positions in scans.items():
        factory()
        item = imported(positions)
        assert tuple(item.location) == (0, 0, 0) and "facelift_placing" not in item, name
        assert np.array_equal(attributes.read(item.data).positions, positions.astype(np.float32)), name


def test_a_head_as_in_the_file_and_anything_as_a_head():
    factory()
    item = imported(bust(), place="FILE")
    assert tuple(item.location) == (0, 0, 0) and np.array_equal(attributes.read(item.data).positions, bust())
    expected = box(imported(bust()))
    for other in (bust() * 7 + np.float32([30, 0, -20]), bust() * 0.174):
        item = imported(other, place="HEAD")
        low, high = box(item)
        assert abs(low[2]) < 1e-3 and abs((high - low)[2] / (expected[1] - expected[0])[2] - 1) < 0.05
        assert low[0] > expected[1][0] and abs((low + high)[1]) < 0.02


def test_what_is_exported_is_what_one_sees():
    factory()
    item = imported(bust())
    bpy.context.view_layer.update()
    assert bpy.ops.facelift.export_splats(filepath=str(FOLDER / "out.ply")) == {"FINISHED"}
    out = formats.read(FOLDER / "out.ply").positions
    low, high = objects.bounds(out, placement.SHARE)
    assert np.allclose(low, box(item)[0], atol=0.01) and np.allclose(high, box(item)[1], atol=0.01)
    assert bpy.ops.facelift.import_splats(filepath=str(FOLDER / "out.ply")) == {"FINISHED"}
    again = bpy.context.object
    assert again != item and np.array_equal(attributes.read(again.data).positions, out), "moved again"


run_tests(globals())
