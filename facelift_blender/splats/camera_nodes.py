"""The scene's camera for Geometry Nodes: its matrices, and what Blender has no node for, by drivers.

The formulas are those by which Blender fits the sensor to the picture.
"""

from __future__ import annotations

import bpy

from .builder import Builder, Results, Sockets, part

VERSION = 4
JACOBIAN_MARGIN = 0.3
"""As in the renderer: the projection is linearised at most this many half pictures outside the picture."""

_SCENE = {
    "fit": ("camera.data.sensor_fit", 0.0),  # 0 automatic, 1 horizontal, 2 vertical
    "kind": ("camera.data.type", 0.0),  # 0 perspective, 1 orthographic, 2 panoramic
    "sensor_w": ("camera.data.sensor_width", 36.0),
    "sensor_h": ("camera.data.sensor_height", 24.0),
    "lens": ("camera.data.lens", 50.0),
    "ortho": ("camera.data.ortho_scale", 6.0),
    "shift_x": ("camera.data.shift_x", 0.0),
    "shift_y": ("camera.data.shift_y", 0.0),
    "engine": ("render.engine", 0.0),  # 0 EEVEE, 1 Workbench; from 2 the engines of add-ons, Cycles first
    "near": ("camera.data.clip_start", 0.1),
    "w": ("render.resolution_x", 1920.0),
    "h": ("render.resolution_y", 1080.0),
    "percent": ("render.resolution_percentage", 100.0),
    "aspect_x": ("render.pixel_aspect_x", 1.0),
    "aspect_y": ("render.pixel_aspect_y", 1.0),
}
_FITTED = "(w if fit == 1 or (fit == 0 and w * aspect_x >= h * aspect_y) else h * aspect_y / aspect_x)"
"""Length of the picture's fitted side, in pixels' widths at 100 %."""
_SIDE = "(ortho if kind == 1 else (sensor_h if fit == 2 else sensor_w) / lens)"
"""The same side at unit depth; in Blender units if orthographic."""


def camera_group() -> bpy.types.GeometryNodeTree:
    """A group with these outputs, for the object whose modifier it is in.

    To Camera, From Camera: matrices between the object and the camera (x right, y up, z backward; rigid, so that
    lengths seen by the camera are Blender units). Location: of the camera, in object space.
    Volume: of the object's unit cube. Point Size: of a point of radius 1 as EEVEE draws it, in Blender units.
    Lengths: of the object's three axes. Shortest: the least of them.
    Perspective: 1, or 0 if orthographic. Near: clip start.
    Drawn by GPU: 1 if renders are made by EEVEE or Workbench.
    Pixel Width, Pixel Height: at unit depth. Left, Right, Bottom, Top: of the picture with its margin, at unit depth.
    """
    return part("FaceLift Camera", VERSION, {}, _build)


def _build(b: Builder, _: Sockets) -> Results:
    with b.frame("Matrices; a camera's scale is of no account"):
        active = b.node("GeometryNodeInputActiveCamera").outputs[0]
        info = b.node("GeometryNodeObjectInfo", {"Object": active}, transform_space="ORIGINAL").outputs
        rigid = {"Translation": info["Location"], "Rotation": info["Rotation"]}
        camera_to_world = b.node("FunctionNodeCombineTransform", rigid).outputs[0]
        own = b.node("GeometryNodeSelfObject").outputs[0]
        to_world = b.node("GeometryNodeObjectInfo", {"Object": own}, transform_space="ORIGINAL").outputs["Transform"]
        world_to_object = b.node("FunctionNodeInvertMatrix", {0: to_world}).outputs[0]
        from_camera = b.node("FunctionNodeMatrixMultiply", {0: world_to_object, 1: camera_to_world}).outputs[0]
        to_camera = b.node("FunctionNodeInvertMatrix", {0: from_camera}).outputs[0]
        location = b.node("FunctionNodeTransformPoint", {"Transform": from_camera}).outputs[0]
    with b.frame("What the object does to sizes"):
        axes = [
            b.node("FunctionNodeTransformDirection", {"Direction": axis, "Transform": to_world}).outputs[0]
            for axis in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        ]
        volume = b.math("ABSOLUTE", b.vector("DOT_PRODUCT", b.vector("CROSS_PRODUCT", axes[0], axes[1]), axes[2]))
        lengths = [b.vector("LENGTH", axis) for axis in axes]
        shortest = b.math("MINIMUM", b.math("MINIMUM", lengths[0], lengths[1]), lengths[2])
        diagonal = b.vector("ABSOLUTE", b.vector("ADD", b.vector("ADD", axes[0], axes[1]), axes[2]))
        point_size = b.vector("DOT_PRODUCT", diagonal, (1.0 / 3.0,) * 3)

    def driven(name: str, expression: str):
        return b.driven(name, expression, _SCENE)

    pixel = driven("Pixel Width", f"{_SIDE} / {_FITTED} * 100 / percent")
    half_width = driven("Half Width", f"0.5 * w * {_SIDE} / {_FITTED}")
    half_height = driven("Half Height", f"0.5 * h * aspect_y / aspect_x * {_SIDE} / {_FITTED}")
    center_x = driven("Center X", f"shift_x * {_SIDE}")
    center_y = driven("Center Y", f"shift_y * {_SIDE}")
    reach_x = b.math("MULTIPLY", half_width, 1.0 + JACOBIAN_MARGIN)
    reach_y = b.math("MULTIPLY", half_height, 1.0 + JACOBIAN_MARGIN)

    return {
        "To Camera": ("Matrix", to_camera),
        "From Camera": ("Matrix", from_camera),
        "Location": ("Vector", location),
        "Volume": ("Float", volume),
        "Point Size": ("Float", point_size),
        "Lengths": ("Vector", b.join(*lengths)),
        "Shortest": ("Float", shortest),
        "Perspective": ("Float", driven("Perspective", "0 if kind == 1 else 1")),
        "Near": ("Float", driven("Near", "near")),
        "Drawn by GPU": ("Float", driven("Drawn by GPU", "1 if engine < 2 else 0")),
        "Pixel Width": ("Float", pixel),
        "Pixel Height": ("Float", b.math("MULTIPLY", pixel, driven("Pixel Aspect", "aspect_y / aspect_x"))),
        "Left": ("Float", b.math("SUBTRACT", center_x, reach_x)),
        "Right": ("Float", b.math("ADD", center_x, reach_x)),
        "Bottom": ("Float", b.math("SUBTRACT", center_y, reach_y)),
        "Top": ("Float", b.math("ADD", center_y, reach_y)),
    }
