"""Operators that choose photos: from files, from the Image Editor, or dropped onto the viewport."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, IntProperty, StringProperty
from facelift_core import FaceLiftError
from facelift_core.files import private_folder

from ..jobs import folders
from ..operator_errors import Chooser, attempt
from . import edits
from .settings import set_photos

_DISPLAY_TYPES = ("DEFAULT", "LIST_VERTICAL", "LIST_HORIZONTAL", "THUMBNAIL")
"""In the order of Blender's numbers."""
_PICTURES = ".jpg .jpeg .png .webp .tif .tiff .bmp .heic .heif .avif"
_CAMERA_RAW = ".arw .cr2 .cr3 .dng .nef .orf .raf .rw2"
SUFFIXES = tuple(f"{_PICTURES} {_CAMERA_RAW}".split())


class _Photos:
    """Mixin for operators that take one or more image files."""

    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})

    def execute(self, context):
        def work() -> None:
            paths = [str(Path(self.directory) / file.name) for file in self.files if file.name]
            if not paths:
                raise FaceLiftError("No photo was chosen.")
            set_photos(context.scene.facelift, paths)
            if context.area is not None:
                context.area.tag_redraw()

        return attempt(self, work)


class FACELIFT_OT_choose_photos(Chooser, _Photos, bpy.types.Operator):
    """Choose a portrait photo, or several to make heads from one after the other"""

    bl_idname = "facelift.choose_photos"
    bl_label = "Choose Photo…"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    # Blender's file browser opens with the display type of an operator's property of this name.
    display_type: EnumProperty(
        items=[(name, name.title(), "", number) for number, name in enumerate(_DISPLAY_TYPES)],
        default="THUMBNAIL",
        options={"HIDDEN", "SKIP_SAVE"},
    )
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})


class FACELIFT_OT_drop_photos(_Photos, bpy.types.Operator):
    """Make a head from this photo"""

    bl_idname = "facelift.drop_photos"
    bl_label = "Portrait Photo for FaceLift"  # shown in a menu if other add-ons handle the file, too
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}


class FACELIFT_OT_use_editor_image(bpy.types.Operator):
    """Use the selected image empty, or the image in an Image Editor, even if it is packed, painted or rendered"""

    bl_idname = "facelift.use_editor_image"
    bl_label = "Use Open Image"
    bl_options = {"REGISTER", "UNDO", "INTERNAL"}

    image: StringProperty(description="Name of the image. Leave empty to use the open one", options={"HIDDEN"})

    def execute(self, context):
        def work() -> None:
            image = bpy.data.images.get(self.image) if self.image else editor_image(context)
            if image is None:
                raise FaceLiftError("No image found; open one in an Image Editor.")
            set_photos(context.scene.facelift, [str(image_as_file(image, context.scene))])

        return attempt(self, work)


class FACELIFT_OT_remove_photo(bpy.types.Operator):
    """Remove this photo from the list"""

    bl_idname = "facelift.remove_photo"
    bl_label = "Remove Photo"
    bl_options = {"UNDO", "INTERNAL"}

    index: IntProperty(options={"HIDDEN"})

    def execute(self, context):
        context.scene.facelift.more_photos.remove(self.index)
        return {"FINISHED"}


class FACELIFT_FH_photo(bpy.types.FileHandler):
    bl_idname = "FACELIFT_FH_photo"
    bl_label = "FaceLift: portrait photo"
    bl_import_operator = FACELIFT_OT_drop_photos.bl_idname
    bl_file_extensions = ";".join(SUFFIXES)

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"


def editor_image(context) -> bpy.types.Image | None:
    """The image of the active image empty, else of the first Image Editor that shows one other than a cut-out.

    Looks in the current window first, then in the others.
    """
    ob = context.view_layer.objects.active
    if ob is not None and ob.type == "EMPTY" and isinstance(ob.data, bpy.types.Image) and ob.select_get():
        return ob.data
    windows = [w for w in (context.window, *context.window_manager.windows) if w is not None]
    areas = (area for window in windows for area in window.screen.areas if area.type == "IMAGE_EDITOR")
    images = (area.spaces.active.image for area in areas)
    return next((image for image in images if image is not None and not edits.is_cutout(image)), None)


def image_as_file(image: bpy.types.Image, scene: bpy.types.Scene) -> Path:
    """Save the current pixels of `image` as a PNG in the cache, named after the image.

    Raises:
        FaceLiftError: the image has no pixels, or they cannot be written.
    """
    name = re.sub(r"[^\w.-]+", "_", Path(image.name).stem)[:80] or "image"
    folder = folders.cache_folder() / "photos" / uuid.uuid4().hex[:8]
    path = folder / f"{name}.png"
    try:
        private_folder(folder)
        # save_render applies the scene's view transform, which is right for renders but wrong for photos.
        if image.type in ("RENDER_RESULT", "COMPOSITING"):
            image.save_render(str(path), scene=scene)
        else:
            copy = image.copy()
            try:
                copy.file_format = "PNG"
                copy.save(filepath=str(path))
            finally:
                bpy.data.images.remove(copy)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().removeprefix("Error: ").replace(f"{image.name}.001", image.name)
        raise FaceLiftError(f"The image “{image.name}” cannot be used: {reason}") from None
    if not path.is_file():
        raise FaceLiftError(f"The image “{image.name}” has no pixels.")
    return path


CLASSES = (
    FACELIFT_OT_choose_photos,
    FACELIFT_OT_drop_photos,
    FACELIFT_OT_use_editor_image,
    FACELIFT_OT_remove_photo,
    FACELIFT_FH_photo,
)
