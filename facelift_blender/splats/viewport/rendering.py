"""Viewport renders, single images or animations, that include splats.

Blender's own *Viewport Render* leaves out what add-ons draw.
"""

from __future__ import annotations

import bpy
import gpu
import numpy as np
from facelift_core import FaceLiftError
from mathutils import Matrix

from .. import attributes
from . import handlers, state

IMAGE = "Viewport Render"
_IS_OURS = "facelift_viewport_render"
"""Custom property that identifies our image, even if it was renamed."""
_FILMS = {"FFMPEG", "AVI_JPEG", "AVI_RAW"}


def is_ours(context: bpy.types.Context) -> bool:
    """Whether the viewport shows splats that Blender's own *Viewport Render* would leave out."""
    space = context.space_data
    return (
        isinstance(space, bpy.types.SpaceView3D)
        and space.shading.type in state.DRAWN_SHADINGS
        and state.drawn(context.scene)
        and handlers.shows_splats(context)
    )


def render(context: bpy.types.Context) -> bpy.types.Image:
    """Render the viewport of `context` at the scene's resolution; reuses the same image each time."""
    render_settings = context.scene.render
    scale = render_settings.resolution_percentage / 100
    size = tuple(max(1, int(side * scale)) for side in (render_settings.resolution_x, render_settings.resolution_y))
    return _image(_pixels(context, size), is_solid=context.space_data.shading.type == "SOLID")


def save_frame(context: bpy.types.Context) -> None:
    """Render the current frame to the scene's output path.

    Raises:
        FaceLiftError: the output format is a video, or the file cannot be written.
    """
    scene, settings = context.scene, context.scene.render.image_settings
    if settings.file_format in _FILMS:
        raise FaceLiftError("Choose an image format, such as PNG, in the Output properties; videos are not supported.")
    image, path = render(context), scene.render.frame_path(frame=scene.frame_current)
    try:
        if image.is_float:
            image.save_render(path, scene=scene)
        else:  # already in display space; Solid shading does not use the scene's view transform
            image.file_format = settings.file_format
            image.save(filepath=path, quality=settings.quality)
    except RuntimeError as error:
        raise FaceLiftError(f"Cannot write {path}: {error}") from None


def _pixels(context: bpy.types.Context, size: tuple[int, int]) -> np.ndarray:
    """(height, width, 4) float32, linear light, bottom row first."""
    view, projection = _matrices(context, size)
    try:
        offscreen = gpu.types.GPUOffScreen(*size, format="RGBA16F")
    except RuntimeError as error:
        raise FaceLiftError(f"The GPU cannot render an image of {size[0]} × {size[1]} pixels: {error}") from None
    try:
        offscreen.draw_view3d(context.scene, context.view_layer, context.space_data, context.region, view, projection)
        with offscreen.bind():
            handlers.paint(context, view, projection, size)
            read = gpu.state.active_framebuffer_get().read_color(0, 0, *size, 4, 0, "FLOAT")
    finally:
        offscreen.free()
    read.dimensions = size[0] * size[1] * 4
    return np.array(read, np.float32).reshape(size[1], size[0], 4)


def _matrices(context: bpy.types.Context, size: tuple[int, int]) -> tuple[Matrix, Matrix]:
    """World-to-view and view-to-clip matrices for an image of this size."""
    (width, height), region, view = size, context.region, context.region_data
    camera = context.space_data.camera
    if view.view_perspective == "CAMERA" and camera is not None:
        depsgraph, settings = context.evaluated_depsgraph_get(), context.scene.render
        camera = camera.evaluated_get(depsgraph)
        aspect = {"scale_x": settings.pixel_aspect_x, "scale_y": settings.pixel_aspect_y}
        projection = camera.calc_matrix_camera(depsgraph, x=width, y=height, **aspect)
        return camera.matrix_world.normalized().inverted(), projection
    # A viewport's field of view applies to its longer side.
    projection = view.window_matrix.copy()
    projection[0][0] *= region.width / max(region.width, region.height) * max(size) / width
    projection[1][1] *= region.height / max(region.width, region.height) * max(size) / height
    return view.view_matrix.copy(), projection


def _image(pixels: np.ndarray, is_solid: bool) -> bpy.types.Image:
    """Store pixels in our image: in display space for Solid shading, else in linear light for the view transform."""
    height, width, _ = pixels.shape
    former = next((image for image in bpy.data.images if _IS_OURS in image), None)
    image = former
    if former is None or former.is_float == is_solid or tuple(former.size) != (width, height):
        image = bpy.data.images.new(IMAGE, width, height, alpha=True, float_buffer=not is_solid)
        image[_IS_OURS] = True
        if former is not None:
            former.user_remap(image)
            bpy.data.images.remove(former)
            image.name = IMAGE
    image.use_view_as_render = not is_solid
    if is_solid:
        pixels = np.dstack([attributes.to_displayed(pixels[:, :, :3].clip(0, 1)), pixels[:, :, 3]])
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    return image


def show(image: bpy.types.Image) -> None:
    """Show the image in an open Image Editor, or else in a new window."""
    manager = bpy.context.window_manager
    areas = [area for window in manager.windows for area in window.screen.areas if area.type == "IMAGE_EDITOR"]
    if not areas:
        bpy.ops.wm.window_new()
        areas = [manager.windows[-1].screen.areas[0]]
        areas[0].type = "IMAGE_EDITOR"
    areas[0].spaces.active.image = image
