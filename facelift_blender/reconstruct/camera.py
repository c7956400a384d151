"""Adds a camera to a scene that has none."""

from __future__ import annotations

import math

import bpy
from mathutils import Vector


def add_camera(context) -> bpy.types.Object:
    """Add a scene camera in front of the active object, or of the 3D cursor, far enough away to show a whole head."""
    ob = context.view_layer.objects.active
    scale = context.scene.unit_settings.scale_length or 1.0
    if ob is not None and max(ob.dimensions) > 0:
        middle = sum((ob.matrix_world @ corner for corner in map(Vector, ob.bound_box)), Vector((0, 0, 0))) / 8
        height = max(ob.dimensions)
    else:
        middle, height = context.scene.cursor.location.copy(), 0.3 / scale
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    # A corner of the camera frame; takes the aspect ratio into account.
    x, y, z = map(abs, camera.data.view_frame(scene=context.scene)[0])
    distance = 0.6 * height * z / min(x, y)
    camera.location = middle + Vector((0, -distance, 0))
    camera.rotation_euler = (math.pi / 2, 0, 0)
    camera.data.clip_start = min(camera.data.clip_start, distance / 100)
    context.scene.collection.objects.link(camera)
    context.scene.camera = camera
    return camera
