"""The buttons around a run. Each operator collects its properties and calls a function."""

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
    """Make a 3D head of Gaussians from the portrait photo, in the background"""

    bl_idname = "facelift.reconstruct"
    bl_label = "Reconstruct Face"
    bl_options = {"REGISTER"}

    filepath: StringProperty(name="Photo", description="Empty: the photos of the scene", subtype="FILE_PATH")
    steps: IntProperty(name="Steps", default=50, min=1, max=1000)
    guidance_scale: FloatProperty(name="Guidance", default=0.0, min=0.0)
    seed: IntProperty(name="Seed", default=4, min=0)
    crop: BoolProperty(name="Find the Face", default=True)
    matting: EnumProperty(name="Background", items=settings.MATTINGS, default="auto")
    likeness: EnumProperty(name="Likeness", items=settings.LIKENESSES, default="photo")
    device: StringProperty(name="Device", default="auto", description="auto, cuda, cuda:1, mps or cpu")
    weights: StringProperty(name="Weights", description="“mini”, “released” or a folder")

    def execute(self, context):
        own = context.scene.facelift
        # What a script does not give is as in the scene's settings.
        given = {name: getattr(self, name) for name in _OF_RUN if self.properties.is_property_set(name)}

        def work() -> None:
            submitted = session.submit(context, [self.filepath] if self.filepath else settings.photos_of(own), **given)
            if window.background():
                timer.wait(submitted)
            if not self.filepath:
                own.more_photos.clear()

        return attempt(self, work)


class _OnHead:
    """For operators on a finished head in the cache."""

    folder: StringProperty(description="Of the job", subtype="DIR_PATH", options={"HIDDEN"})


class FACELIFT_OT_import_head(_OnHead, bpy.types.Operator):
    """Bring a finished head into this scene"""

    bl_idname = "facelift.import_head"
    bl_label = "Import Head"
    bl_options = {"REGISTER", "UNDO"}

    scale: FloatProperty(
        name="Size", default=1.0, min=1e-3, soft_max=10.0, options={"SKIP_SAVE"}, description="1 is that of a real head"
    )

    def execute(self, context):
        def work() -> None:
            head = folders.read(Path(self.folder))
            if head is None:
                session.look_for_left()
                raise FaceLiftError("The files of this head are gone; reconstruct it again.")
            session.bring_in(head, context.scene, self.scale)

        return attempt(self, work)


class FACELIFT_OT_dismiss_head(_OnHead, bpy.types.Operator):
    """Do not offer this head any more; its file stays until the cache is cleared"""

    bl_idname = "facelift.dismiss_head"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        folders.claim(Path(self.folder))
        session.look_for_left()
        return {"FINISHED"}


class FACELIFT_OT_release_memory(bpy.types.Operator):
    """End the worker, which frees the memory of the models; the next run loads them again"""

    bl_idname = "facelift.release_memory"
    bl_label = "Release Memory"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return jobs.holds_memory

    def execute(self, context):
        jobs.release()
        return {"FINISHED"}


class FACELIFT_OT_clear_cache(bpy.types.Operator):
    """Remove the files of earlier runs: finished heads that were imported or not, views, thumbnails"""

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
    """Add a camera that looks at the active object from the front, and make it the scene's"""

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
