"""A file of one Blender opened in another: `across.py save|open FOLDER`."""

import sys
from pathlib import Path

import bpy
import numpy as np
from from_source import FOLDER, empty_file, head, some_splats
from mathutils import Matrix

from facelift_blender import splats
from facelift_blender.splats import attributes, native, nodes, scene_settings

FILE = str(FOLDER / "heads.blend")
UNEVEN = Matrix.Translation((-0.2, 0.1, 0.1)) @ Matrix.Rotation(0.5, 4, "X") @ Matrix.Diagonal((1.2, 0.7, 0.9, 1.0))


def picture(name: str) -> np.ndarray:
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.filter_width, scene.cycles.use_denoising = 1, 0.01, False
    scene.render.resolution_x, scene.render.resolution_y = 80, 64
    scene.render.film_transparent = True
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "OPEN_EXR", "RGBA", "32"
    scene.render.filepath = str(FOLDER / f"{name}.exr")
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    pixels = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(pixels)
    return pixels


def stored(cloud: bpy.types.PointCloud) -> dict[str, np.ndarray]:
    widths = {attributes.POSITION: 3, attributes.SCALE: 3, attributes.ROTATION: 4, attributes.BASE: 4}
    widths |= {attributes.sh_name(k): 3 for k in range(3)}
    return {name: attributes.get_values(cloud, name, width) for name, width in widths.items()}


def save() -> None:
    empty_file().render.engine = "CYCLES"
    head(1).matrix_world = UNEVEN
    near = head(1, seed=1, name="Any View")
    near.location.x = 0.5
    nodes.set_input(nodes.find_modifier(near), "Render As", nodes.ANY_VIEW)
    nodes.set_input(nodes.find_modifier(near), "Saturation", 0.4)
    scene_settings.apply(bpy.context.scene)
    np.save(FOLDER / "before.npy", picture("before"))
    np.savez(FOLDER / "before.npz", **stored(bpy.data.objects["Head"].data))
    bpy.ops.wm.save_as_mainfile(filepath=FILE)


def open_again() -> None:
    bpy.ops.wm.open_mainfile(filepath=FILE)
    before = np.load(FOLDER / "before.npy")
    assert before.max() > 0.5, "nothing to be seen"
    ratio = -10 * np.log10(max(np.mean((picture("after") - before) ** 2), 1e-12))
    assert ratio > 55, f"{ratio:.1f} dB"
    for item in (bpy.data.objects["Head"], bpy.data.objects["Any View"]):
        assert not native.is_native(item) and nodes.find_modifier(item).show_render
        assert item.data.attributes[attributes.BASE].data_type == attributes.base_type()
    np.testing.assert_array_equal(attributes.read(bpy.data.objects["Head"].data).positions, some_splats(1).positions)
    for name, values in np.load(FOLDER / "before.npz").items():
        np.testing.assert_array_equal(stored(bpy.data.objects["Head"].data)[name], values)


for cls in splats.CLASSES:
    bpy.utils.register_class(cls)
splats.register_menus()
{"save": save, "open": open_again}[sys.argv[1]]()
splats.unregister_menus()
for cls in reversed(splats.CLASSES):
    bpy.utils.unregister_class(cls)
print("ALL GOOD", Path(sys.argv[0]).name, flush=True)
