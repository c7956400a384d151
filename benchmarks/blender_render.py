"""Render each job of a JSON file to .npy (premultiplied RGBA). Runs inside Blender, for blender_fidelity.py."""

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

from facelift_blender.splats import native, nodes, objects, scene_settings
from facelift_core.gaussians import files


def set_up(job: dict) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    camera = bpy.data.cameras.new("Camera")
    item = bpy.data.objects.new("Camera", camera)
    scene.collection.objects.link(item)
    scene.camera = item
    to_world = Matrix(np.array(job["c2w"]) @ np.diag([1.0, -1.0, -1.0, 1.0]))  # OpenCV to Blender
    item.matrix_world = to_world @ Matrix.Scale(job.get("camera_scale", 1.0), 4)
    width, height = job["size"]
    camera.lens = job["focal"] * camera.sensor_width / max(width, height)
    camera.clip_start, camera.clip_end = 0.2, 1000.0
    if "orthographic" in job:  # Blender units that the longer side of the picture shows
        camera.type, camera.ortho_scale = "ORTHO", job["orthographic"]
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
        # There is no light to cast any. The picture is the same to the bit, but software OpenGL spends nine tenths of
        # its time on looking for shadows around a transparent object.
        scene.eevee.use_shadows = False
        render.filter_size = 0.01
    splats = files.read(job["ply"])
    collection = bpy.data.collections.new("Heads") if "instance" in job else scene.collection
    head = objects.create_splat_object(scene, splats, "Head", collection=collection)
    head.matrix_world = Matrix(job["matrix"])
    if "instance" in job:  # the matrix of an empty that shows the collection with the head
        empty = bpy.data.objects.new("Instance", None)
        empty.instance_type, empty.instance_collection = "COLLECTION", collection
        empty.matrix_world = Matrix(job["instance"])
        scene.collection.objects.link(empty)
    modifier = nodes.find_modifier(head)
    if job["mode"] == "Native":
        native.set_native(head, True)
        scene.cycles.samples, scene.eevee.taa_render_samples = 64, 16
    else:
        nodes.set_input(modifier, "Render As", job["mode"])
    nodes.set_input(modifier, "Match Viewers", job["match_viewers"])
    scene_settings.apply(scene)


def render(out: str) -> dict[str, float]:
    """Render, and return the seconds of wall time and processor time."""
    scene = bpy.context.scene
    with tempfile.TemporaryDirectory() as folder:
        settings = scene.render.image_settings
        settings.file_format = "OPEN_EXR"
        settings.color_mode = "RGBA"
        settings.color_depth = "32"
        scene.render.filepath = str(Path(folder) / "render.exr")
        start, cpu_start = time.time(), time.process_time()
        bpy.ops.render.render(write_still=True)
        spent = {"seconds": time.time() - start, "cpu_seconds": time.process_time() - cpu_start}
        image = bpy.data.images.load(scene.render.filepath)
        image.colorspace_settings.name = "Non-Color"
        width, height = image.size
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
        np.save(out, pixels.reshape(height, width, 4)[::-1])
    return spent


def main() -> None:
    for job in json.loads(Path(sys.argv[-1]).read_text()):
        if job["mode"] == "Native" and not native.available():
            sys.exit("This Blender has no splats of its own; --mode Native needs 5.3.")
        set_up(job)
        result = {"version": bpy.app.version_string, **render(job["out"])}
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
