"""New heads in a scene, in one process: how large they are, where they stand, and what viewports show of them."""

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


run_tests(globals())
