"""Runs inside Blender for blender_fidelity.py: renders each job of a JSON file to .npy, premultiplied RGBA."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

sys.path.insert(0, str(Path(__file__).parents[1]))

from facelift_blender.core import module
from facelift_blender.splats import nodes, objects, scene_settings


def set_up(job: dict) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    camera = bpy.data.cameras.new("Camera")
    item = bpy.data.objects.new("Camera", camera)
    scene.collection.objects.link(item)
    scene.camera = item
    item.matrix_world = Matrix(np.array(job["c2w"]) @ np.diag([1.0, -1.0, -1.0, 1.0]))  # OpenCV to Blender
    width, height = job["size"]
    camera.lens = job["focal"] * camera.sensor_width / max(width, height)
    camera.clip_start, camera.clip_end = 0.2, 100.0
    render = scene.render
    render.resolution_x, render.resolution_y = width, height
    render.film_transparent = True
    render.dither_intensity = 0.0
    if job["engine"] == "CYCLES":
        render.engine = "CYCLES"
        scene.cycles.samples = 1
        scene.cycles.use_adaptive_sampling = False
        scene.cycles.use_denoising = False
        scene.cycles.filter_width = 0.01
        scene.cycles.device = "CPU"
    else:
        names = render.bl_rna.properties["engine"].enum_items.keys()
        render.engine = "BLENDER_EEVEE_NEXT" if "BLENDER_EEVEE_NEXT" in names else "BLENDER_EEVEE"
        scene.eevee.taa_render_samples = 1
        render.filter_size = 0.01
    splats = module("formats").read(job["ply"])
    head = objects.create_splat_object(scene, splats, "Head")
    head.matrix_world = Matrix(job["matrix"])
    modifier = nodes.find_modifier(head)
    nodes.set_input(modifier, "Render As", job["mode"])
    nodes.set_input(modifier, "Match Viewers", job["match_viewers"])
    scene_settings.apply(scene)


def render(out: str) -> float:
    """Seconds that rendering took."""
    scene = bpy.context.scene
    with tempfile.TemporaryDirectory() as folder:
        settings = scene.render.image_settings
        settings.file_format = "OPEN_EXR"
        settings.color_mode = "RGBA"
        settings.color_depth = "32"
        scene.render.filepath = str(Path(folder) / "render.exr")
        start = time.time()
        bpy.ops.render.render(write_still=True)
        seconds = time.time() - start
        image = bpy.data.images.load(scene.render.filepath)
        image.colorspace_settings.name = "Non-Color"
        width, height = image.size
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
        np.save(out, pixels.reshape(height, width, 4)[::-1])
    return seconds


def main() -> None:
    for job in json.loads(Path(sys.argv[-1]).read_text()):
        set_up(job)
        result = {"version": bpy.app.version_string, "seconds": render(job["out"])}
        print("RESULT " + json.dumps(result), flush=True)
    if not bpy.app.module:
        bpy.ops.wm.quit_blender()


if __name__ == "__main__":
    main()
