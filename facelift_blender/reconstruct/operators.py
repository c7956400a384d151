"""Operators for reconstruction and finished heads. Each one collects its properties and calls a function."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty
from facelift_core import FaceLiftError

from .. import window
from ..jobs import folders, timer
from ..jobs.timer import jobs
from ..operator_errors import attempt
from . import session, settings
from .camera import add_camera
from .session import session as here

_OF_RUN = ("steps", "guidance_scale", "seed", "crop", "matting", "likeness", "device", "weights")


class FACELIFT_OT_reconstruct(bpy.types.Operator):
    """Make a 3D head of Gaussian splats from the portrait photo. Runs in the background, so you can keep working"""

    bl_idname = "facelift.reconstruct"
    bl_label = "Reconstruct Face"
    bl_options = {"REGISTER"}

    filepath: StringProperty(
        name="Photo", description="Photo to reconstruct. Leave empty to use the scene's photos", subtype="FILE_PATH"
    )
    steps: IntProperty(name="Steps", default=50, min=1, max=1000)
    guidance_scale: FloatProperty(name="Guidance", default=0.0, min=0.0)
    seed: IntProperty(name="Seed", default=4, min=0)
    crop: BoolProperty(name="Find the Face", default=True)
    matting: EnumProperty(name="Background", items=settings.MATTINGS, default="auto")
    likeness: EnumProperty(name="Likeness", items=settings.LIKENESSES, default="photo")
    device: StringProperty(name="Device", default="auto", description="“auto”, “cuda”, “cuda:1”, “mps” or “cpu”")
    weights: StringProperty(name="Weights", description="“mini” (built-in), “released” or a folder")

    def execute(self, context):
        own = context.scene.facelift
        # Properties that were not set explicitly come from the scene's settings.
        given = {name: getattr(self, name) for name in _OF_RUN if self.properties.is_property_set(name)}

        def work() -> None:
            submitted = session.submit(context, [self.filepath] if self.filepath else settings.photos_of(own), **given)
            if window.background():
                timer.wait(submitted)
            if not self.filepath:
                own.more_photos.clear()

        return attempt(self, work)


class _OnHead:
    """Mixin for operators on a finished head in the cache."""

    folder: StringProperty(description="Folder of the head in the cache", subtype="DIR_PATH", options={"HIDDEN"})


class FACELIFT_OT_import_head(_OnHead, bpy.types.Operator):
    """Add this finished head to the scene"""

    bl_idname = "facelift.import_head"
    bl_label = "Import Head"
    bl_options = {"REGISTER", "UNDO"}

    scale: FloatProperty(
        name="Size", default=1.0, min=1e-3, soft_max=10.0, options={"SKIP_SAVE"}, description="1 is life-size"
    )

    def execute(self, context):
        def work() -> None:
            head = folders.read(Path(self.folder))
            if head is None:
                session.look_for_left()
                raise FaceLiftError("The files of this head are missing; reconstruct it again.")
            session.bring_in(head, context.scene, self.scale)

        return attempt(self, work)


class FACELIFT_OT_dismiss_head(_OnHead, bpy.types.Operator):
    """Remove this head from the list. Its file stays until you clear the cache"""

    bl_idname = "facelift.dismiss_head"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        folders.claim(Path(self.folder))
        session.look_for_left()
        return {"FINISHED"}


class FACELIFT_OT_release_memory(bpy.types.Operator):
    """Unload the models to free memory. The next reconstruction loads them again"""

    bl_idname = "facelift.release_memory"
    bl_label = "Unload Models"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return jobs.holds_memory

    def execute(self, context):
        jobs.release()
        return {"FINISHED"}


class FACELIFT_OT_clear_cache(bpy.types.Operator):
    """Delete the files of earlier reconstructions: finished heads, even if not imported, views and thumbnails"""

    bl_idname = "facelift.clear_cache"
    bl_label = "Clear Cache"
    bl_options = {"INTERNAL"}

    def invoke(self, context, event):
        if here.left:
            return context.window_manager.invoke_confirm(self, event)
        return self.execute(context)

    def execute(self, context):
        session.clear_cache()
        return {"FINISHED"}


class FACELIFT_OT_add_camera(bpy.types.Operator):
    """Add a camera that shows the active object from the front, and make it the scene camera"""

    bl_idname = "facelift.add_camera"
    bl_label = "Add Camera"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        add_camera(context)
        return {"FINISHED"}


CLASSES = (
    FACELIFT_OT_reconstruct,
    FACELIFT_OT_import_head,
    FACELIFT_OT_dismiss_head,
    FACELIFT_OT_release_memory,
    FACELIFT_OT_clear_cache,
    FACELIFT_OT_add_camera,
)
