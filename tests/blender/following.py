"""Gaussians follow what Blender's own tools do to their points; in one process, with renders before and after."""

import bpy
import numpy as np
from from_source import COUNT, FOLDER, empty_file, run_tests
from from_source import head as new_head
from mathutils import Matrix
from pictures import different, new_scene, picture, same

from facelift_blender.splats import attributes, following, nodes

MATRICES = {
    "scale": Matrix.Scale(0.174, 4) @ Matrix.Translation((0.2, 0, 0)),
    "rotation": Matrix.Translation((0.1, 0.2, 0.0)) @ Matrix.Rotation(0.8, 4, "Z") @ Matrix.Scale(0.8, 4),
    "uneven": Matrix.Translation((-0.2, 0.1, 0.1)) @ Matrix.Rotation(0.5, 4, "X") @ Matrix.Diagonal((1.2, 0.7, 0.9, 1)),
    "mirror": Matrix.Rotation(0.4, 4, "Y") @ Matrix.Diagonal((-1, 1, 1, 1)),
}


def select(*items) -> None:
    """The last one is active."""
    bpy.ops.object.select_all(action="DESELECT")
    for item in items:
        item.select_set(True)
    bpy.context.view_layer.objects.active = items[-1]


def head(matrix, degree=0, **arguments) -> bpy.types.Object:
    item = new_head(degree, **arguments)
    item.matrix_world = matrix
    bpy.context.view_layer.update()
    return item


def apply_transform(item) -> None:
    select(item)
    assert bpy.ops.object.transform_apply(location=True, rotation=True, scale=True) == {"FINISHED"}
    assert item.matrix_world == Matrix()


def close_in(scene, item) -> None:
    """Move the camera so that small heads fill the picture."""
    scene.camera.location.y = -3 * max(map(abs, item.matrix_world.to_scale()))


def test_apply_transform_changes_no_picture():
    for name, matrix in MATRICES.items():
        for degree in (0, 3):
            if degree and name == "uneven":
                continue  # no spherical harmonics show what unevenly stretched ones do
            for mode in (nodes.CAMERA_FACING, nodes.ANY_VIEW):
                scene = new_scene()
                item = head(matrix, degree)
                close_in(scene, item)
                nodes.set_input(nodes.find_modifier(item), "Render As", mode)
                before = picture()
                apply_transform(item)
                # Any View sees spheres, which are as large as the object's own axes want them.
                same(picture(), before, 60 if mode == nodes.CAMERA_FACING else 50)


def test_it_would_change_without():
    scene = new_scene()
    item = head(MATRICES["scale"])
    close_in(scene, item)
    before = picture()
    following.detach()
    apply_transform(item)
    different(picture(), before)
    # A file from a Blender without the add-on is put right when it is opened.
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "applied.blend"))
    following.attach()
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "applied.blend"))
    same(picture(), before, 60)


def test_files_of_earlier_versions():
    """Whose heads have an object scale, and no memory of positions."""
    scene = new_scene()
    item = head(MATRICES["scale"], degree=1)
    close_in(scene, item)
    item.data.attributes.remove(item.data.attributes[attributes.REST])
    before = picture()
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "earlier.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "earlier.blend"))
    item = bpy.data.objects["Head"]
    assert abs(item.scale.x - 0.174) < 1e-6
    same(picture(), before, 100)
    apply_transform(item)
    same(picture(), before, 60)


def test_undo_and_redo():
    new_scene()
    item = head(MATRICES["rotation"], degree=1)
    before = picture()
    bpy.ops.ed.undo_push(message="before")
    for _ in range(2):
        apply_transform(bpy.data.objects["Head"])
        bpy.ops.ed.undo_push(message="applied")
        same(picture(), before, 60)
        bpy.ops.ed.undo()
        item = bpy.data.objects["Head"]
        assert abs(item.scale.x - 0.8) < 1e-6
        same(picture(), before, 90)
        bpy.ops.ed.redo()
        bpy.context.view_layer.update()
        assert abs(bpy.data.objects["Head"].scale.x - 1) < 1e-6
        same(picture(), before, 60)
        bpy.ops.ed.undo()


def test_join_changes_no_picture():
    new_scene()
    items = [
        head(matrix, 1, seed=n, name=name) for n, (name, matrix) in enumerate(MATRICES.items()) if name != "uneven"
    ]
    before = picture()
    if bpy.app.version < (4, 5):
        select(*items)
        assert not bpy.ops.object.join.poll(), "this Blender joins point clouds"
        return
    select(*items)
    assert bpy.ops.object.join() == {"FINISHED"}
    assert len(items[-1].data.points) == 3 * COUNT
    same(picture(), before, 50)


def test_set_origin_changes_no_picture():
    new_scene()
    item = head(MATRICES["rotation"])
    before = picture()
    select(item)
    assert bpy.ops.object.origin_set(type="ORIGIN_GEOMETRY") == {"FINISHED"}
    same(picture(), before, 60)


def test_points_that_were_scaled_by_hand():
    """As in Edit Mode: some by one matrix, others bent out of shape."""
    empty_file()
    item = head(Matrix())
    before = attributes.read(item.data)
    positions = before.positions.copy()
    positions[100:300] *= 2.0
    attributes.set_values(item.data, attributes.POSITION, positions)
    item.data.update_tag()
    bpy.context.view_layer.update()
    found = attributes.read(item.data)
    expected = before.log_scales.copy()
    expected[100:300] += np.log(2.0)
    assert np.allclose(found.log_scales, expected, atol=1e-5)
    bent = positions + 0.1 * positions**2
    attributes.set_values(item.data, attributes.POSITION, bent)
    item.data.update_tag()
    bpy.context.view_layer.update()
    assert np.allclose(attributes.read(item.data).log_scales, expected, atol=1e-5)
    assert np.allclose(attributes.read(item.data).positions, bent)


run_tests(globals())
