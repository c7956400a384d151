"""Small renders in Cycles, and pictures compared with pictures."""

import bpy
import numpy as np
from from_source import FOLDER, empty_file


def new_scene() -> bpy.types.Scene:
    scene = empty_file()
    scene.render.engine = "CYCLES"
    scene.cycles.samples = 1
    scene.cycles.use_denoising = False
    scene.cycles.filter_width = 0.01
    scene.cycles.transparent_max_bounces = 1024
    scene.cycles.min_transparent_bounces = 1024
    scene.view_settings.view_transform = "Standard"
    scene.render.resolution_x, scene.render.resolution_y = 80, 64
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "OPEN_EXR"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "32"
    return scene


def picture(layer: str = "") -> np.ndarray:
    """(H, W, 4) linear, multiplied by alpha."""
    scene = bpy.context.scene
    scene.render.filepath = str(FOLDER / "render.exr")
    for other in scene.view_layers:
        other.use = not layer or other.name == layer
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, 4)


def same(found: np.ndarray, expected: np.ndarray, least: float = 60.0) -> None:
    """Pictures agree to `least` dB, and there is something in them."""
    assert expected[..., 3].max() > 0.5, "nothing to be seen"
    ratio = -10 * np.log10(max(np.mean((found - expected) ** 2), 1e-12))
    print(f"   {ratio:.1f} dB", flush=True)
    assert ratio >= least, f"{ratio:.1f} dB"


def different(found: np.ndarray, other: np.ndarray) -> None:
    assert np.mean((found - other) ** 2) > 1e-4
