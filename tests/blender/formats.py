"""Files of all formats: exported as rendered, imported again, and pictures compared with pictures."""

import json
import os
import re
from pathlib import Path

import bpy
import numpy as np
from from_source import FOLDER, refused, run_tests, some_splats
from from_source import head as new_head
from mathutils import Matrix
from pictures import new_scene, picture, same

from facelift_blender.jobs.job import WorkerSettings
from facelift_blender.splats import (
    attributes,
    conversion,
    editing,
    exporting,
    loading,
    native,
    nodes,
    placement,
    previews,
)
from facelift_core.gaussians import files as formats
from facelift_core.gaussians.arrays import concatenated

TURNED = Matrix.Translation((0.1, 0.2, 0.0)) @ Matrix.Rotation(0.8, 4, "Z") @ Matrix.Rotation(0.4, 4, "X")
UNEVEN = TURNED @ Matrix.Diagonal((1.2, 0.7, 0.9, 1.0))
MIRRORED = TURNED @ Matrix.Diagonal((-1.0, 1.0, 1.0, 1.0))


def head(matrix=None, degree=0, **arguments):
    item = new_head(degree, **arguments)
    item.matrix_world = matrix or Matrix()
    return item


def exported(path: Path, **options) -> Path:
    assert bpy.ops.facelift.export_splats(filepath=str(path), **options) == {"FINISHED"}
    return path


def imported(path: Path, **options) -> bpy.types.Object:
    """The only object with splats from now on."""
    for other in list(bpy.context.scene.objects):
        if other.type == "POINTCLOUD":
            bpy.data.objects.remove(other)
    assert bpy.ops.facelift.import_splats(filepath=str(path), place="FILE", **options) == {"FINISHED"}
    return bpy.context.object


def test_exports_with_view_dependent_color_look_the_same():
    for degree in (1, 2, 3):
        for name, matrix in (("turned", TURNED), ("uneven", UNEVEN), ("mirrored", MIRRORED)):
            new_scene()
            head(matrix, degree)
            before = picture()
            item = imported(exported(FOLDER / f"{name}.ply"))
            assert tuple(item.scale) == (1, 1, 1) and attributes.sh_bases(item.data) == (degree + 1) ** 2
            same(picture(), before, 50)


def test_every_format_comes_back_upright():
    conversion._worker = lambda title: WorkerSettings(Path(os.environ["FACELIFT_PYTHON"]))
    for entry in formats.FORMATS:
        new_scene()
        head(TURNED, 1)
        before = picture()
        path = exported(FOLDER / f"head{entry.suffix}")
        item = imported(path)
        flat = entry.sh_degree == 0
        assert attributes.sh_bases(item.data) == (1 if flat else 4), entry.name
        assert tuple(item.scale) == (1, 1, 1) and tuple(item.rotation_euler) == (0, 0, 0)
        same(picture(), before, 18 if flat else 50 if entry.lossless else 30)


def test_formats_that_need_the_runtime_say_so():
    conversion._worker = WORKER
    new_scene()
    head()
    try:
        import pxr  # noqa: F401
    except ImportError:
        for work in (
            lambda: bpy.ops.facelift.export_splats(filepath=str(FOLDER / "none.usdc")),
            lambda: bpy.ops.facelift.import_splats(filepath=str(FOLDER / "head.usdc")),
        ):
            refused(work, "needs PyTorch")
        assert not (FOLDER / "none.usdc").exists()


def test_options():
    new_scene()
    item = head(degree=3)
    nodes.set_input(nodes.find_modifier(item), "Saturation", 0.0)
    item.location.x = 1.0
    other = head(name="Other", seed=1)
    bpy.ops.object.select_all(action="DESELECT")
    item.select_set(True)
    bpy.context.view_layer.objects.active = item
    everything = 1 / (1 + np.exp(-some_splats(3).opacity_logits)) >= 1 / 255
    plain = some_splats(3)[everything]
    count = len(plain)

    def written(**options):
        return formats.read(exported(FOLDER / "options.ply", **options))

    assert len(written()) == count and len(written(use_selection=False)) > count
    other.hide_set(True)
    assert len(written(use_selection=False)) == count
    colors = written().colors
    np.testing.assert_allclose(colors, np.repeat(colors[:, :1], 3, axis=1), atol=1e-4)
    raw = written(apply_modifiers=False, apply_transform=False)
    np.testing.assert_array_equal(raw.positions, some_splats(3).positions)
    np.testing.assert_array_equal(raw.sh, some_splats(3).sh)
    assert [written(sh_degree=str(k)).sh_degree for k in range(4)] == [0, 1, 2, 3]
    up = written(apply_transform=False, up_axis="Y").positions
    np.testing.assert_allclose(up, plain.positions[:, [0, 2, 1]] * [1, 1, -1], atol=1e-6)
    np.testing.assert_allclose(attributes.read(imported(FOLDER / "options.ply", up_axis="Y").data).positions,
                               plain.positions, atol=1e-6)  # fmt: skip
    assert bpy.ops.facelift.export_splats(filepath=str(FOLDER / "bare"), file_format=".spz") == {"FINISHED"}
    assert (FOLDER / "bare.spz").is_file()
    for version in (2, 3):
        path = exported(FOLDER / f"v{version}.spz", spz_version=str(version))
        import gzip

        assert gzip.open(path).read(8)[4] == version


def load(path: Path, each=lambda entry: None, **options) -> loading.Loading:
    """Import `path` as a window does, with the timer's ticks from here."""
    loading.BUSY = 0.0
    options = {"scale": 1.0, "up_axis": "Z", "at_cursor": False, "place": "FILE"} | options
    entry = loading.start(bpy.context, path, **options)
    while loading.active:
        each(entry)
        loading.tick()
    return entry


def test_large_files_arrive_in_the_background():
    new_scene()
    head(TURNED, 1)
    before = picture()
    path = exported(FOLDER / "large.ply")
    for other in list(bpy.data.pointclouds):
        bpy.data.pointclouds.remove(other)
    seen = []
    entry = load(path, lambda entry: seen.append(entry.fraction))
    assert not entry.error and seen == sorted(seen) and len(set(seen)) > 5
    item = bpy.context.object
    assert item.name == "large" and attributes.sh_bases(item.data) == 4
    assert nodes.get_input(nodes.find_modifier(item), "Viewport Amount") == 100.0
    same(picture(), before, 100)

    load(path, place="HEAD")
    item = bpy.context.object
    low, _ = placement.box(item)
    assert abs(low[2]) < 1e-5 and item.location.x > 0 and "facelift_placing" in item, "not beside the other"
    bpy.data.pointclouds.remove(item.data)

    # Only the viewport shows fewer.
    loading.SHOWN = 100
    load(path)
    assert abs(nodes.get_input(nodes.find_modifier(bpy.context.object), "Viewport Amount") - 20.0) < 0.1
    same(picture(), before, 40)
    loading.SHOWN = 1_000_000

    for stage in (0.0, 0.5, 0.75):
        count = len(bpy.data.pointclouds)
        entry = load(path, lambda entry, stage=stage: entry.fraction >= stage and entry.cancel.set())
        assert not entry.error and len(bpy.data.pointclouds) == count, "a part of it stayed"
    (FOLDER / "broken.ply").write_bytes(path.read_bytes()[:-100])
    assert "broken.ply" in load(FOLDER / "broken.ply").error and loading.failed
    entry = load(path, lambda entry: entry.fraction > 0.75 and bpy.ops.wm.read_homefile(use_empty=True))
    assert "another file was opened" in entry.error and not bpy.data.pointclouds


def test_a_picture_of_a_file_before_it_is_imported():
    new_scene()
    splats = some_splats()
    path = FOLDER / "shown.spz"
    formats.write(splats, path)
    image = previews.picture(splats)
    assert image.shape == (previews.SIDE, previews.SIDE, 4) and 0.05 < image[..., 3].mean() < 0.95
    # The nearest Gaussian on top: an opaque red one before all others, in the middle.
    front = splats[[0]]
    front.positions[:] = (splats.positions.min(axis=0) + splats.positions.max(axis=0)) / 2 - [0, 9, 0]
    front.opacity_logits[:], front.log_scales[:] = 5.0, -2.0
    front.sh[:] = np.float32([1, -1, -1]) * 0.5 / 0.28209479
    red = (previews.picture(concatenated([splats, front])) == np.float32([1, 0, 0, 1])).all(axis=-1)
    assert red.sum() > 20 and np.abs(np.argwhere(red).mean(axis=0) - previews.SIDE / 2).max() < previews.SIDE / 4
    assert previews.icon_of(FOLDER / "missing.ply", "Z") == 0
    (FOLDER / "text.ply").write_text("hello")
    assert previews.icon_of(FOLDER / "text.ply", "Z") == 0
    assert previews.icon_of(path, "Z") == previews.icon_of(path, "Z")


def test_web_page():
    new_scene()
    head(Matrix.Translation((5, 0, 0)) @ Matrix.Scale(0.1, 4))
    path = FOLDER / "head.html"
    assert bpy.ops.facelift.export_web_page(filepath=str(path), background=(0, 0.5, 1)) == {"FINISHED"}
    page = path.read_text("utf-8")
    settings = json.loads(re.search(r'{"background".*?}', page)[0])
    assert settings["background"] == "#0080ff" and settings["autoRotate"] and "Head" in page
    assert np.abs(settings["target"]).max() < 0.2, "not in the middle of the page"


def test_deleted_points_stay_out():
    new_scene()
    item = head()
    item.data.attributes.new(editing.SELECTION, "BOOLEAN", "POINT")
    attributes.set_values(item.data, editing.SELECTION, some_splats().positions[:, 0] > 0)
    assert bpy.ops.facelift.splats_delete_selected() == {"FINISHED"}
    rest = picture()
    imported(exported(FOLDER / "rest.spz"))
    same(picture(), rest, 30)


def test_blenders_own_importers_read_our_files():
    """From 5.3 on."""
    if not native.available():
        return
    for suffix, work in ((".spz", bpy.ops.wm.spz_import), (".glb", bpy.ops.import_scene.gltf)):
        new_scene()
        ours = head(TURNED, 3)
        before = picture()
        path = exported(FOLDER / f"own{suffix}")
        bpy.data.objects.remove(ours)
        assert work(filepath=str(path)) == {"FINISHED"}
        (item,) = (other for other in bpy.context.scene.objects if other.type == "POINTCLOUD")
        assert native.is_native(item)
        editing.show_as(item, nodes.CAMERA_FACING, render=True, viewport=False)
        same(picture(), before, 37)


WORKER = conversion._worker
assert exporting.STATED_AXES <= {entry.suffix for entry in formats.FORMATS}
run_tests(globals())
