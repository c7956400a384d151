"""The buttons around a run. Each operator collects its properties and calls a function."""

from __future__ import annotations

import math
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty
from mathutils import Vector

from .. import core, preferences
from ..job import folders
from . import runtime_state, session, settings
from .session import session as here
from .system_information import system_information

_OF_RUN = ("steps", "guidance_scale", "seed", "crop", "matting", "device", "weights")


class FACELIFT_OT_reconstruct(bpy.types.Operator):
    """Make a 3D head of Gaussians from the portrait photo, in the background"""

    bl_idname = "facelift.reconstruct"
    bl_label = "Reconstruct Face"
    bl_options = {"REGISTER"}

    filepath: StringProperty(name="Photo", description="Empty: the photos of the scene", subtype="FILE_PATH")
    steps: IntProperty(name="Steps", default=50, min=1, max=1000)
    guidance_scale: FloatProperty(name="Guidance", default=3.0, min=0.0)
    seed: IntProperty(name="Seed", default=4, min=0)
    crop: BoolProperty(name="Find the Face", default=True)
    matting: EnumProperty(name="Background", items=settings.MATTINGS, default="auto")
    device: StringProperty(name="Device", default="auto", description="auto, cuda, cuda:1, mps or cpu")
    weights: StringProperty(name="Weights", description="A folder, or “mini”")

    def execute(self, context):
        # What a script does not give is as in the scene's settings.
        given = {name: getattr(self, name) for name in _OF_RUN if self.properties.is_property_set(name)}
        photos = [self.filepath] if self.filepath else photos_of(context.scene.facelift)
        try:
            if not photos:
                raise core.FaceLiftError("Choose a portrait photo first.")
            jobs = [session.submit(context, photo, **given) for photo in photos]
            if session.background():
                for job in jobs:
                    session.wait(job)
        except core.Cancelled:
            return {"CANCELLED"}
        except core.FaceLiftError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if not self.filepath:
            context.scene.facelift.more_photos.clear()
        return {"FINISHED"}


class FACELIFT_OT_cancel(bpy.types.Operator):
    """Stop this reconstruction; what it has computed is dropped"""

    bl_idname = "facelift.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    job: StringProperty(description="Empty: all", options={"HIDDEN"})

    def execute(self, context):
        for job in here.runner.active:
            if self.job in ("", job.id):
                here.runner.cancel(job)
        session.redraw()
        return {"FINISHED"}


class FACELIFT_OT_import_head(bpy.types.Operator):
    """Bring a finished head into this scene"""

    bl_idname = "facelift.import_head"
    bl_label = "Import Head"
    bl_options = {"REGISTER"}

    folder: StringProperty(description="Of the job", subtype="DIR_PATH", options={"HIDDEN"})

    def execute(self, context):
        head = folders.read(Path(self.folder))
        if head is None:
            session.look_for_left()
            self.report({"ERROR"}, "The files of this head are gone; reconstruct it again.")
            return {"CANCELLED"}
        try:
            session.bring_in(head, context.scene)
        except core.FaceLiftError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class FACELIFT_OT_dismiss_head(bpy.types.Operator):
    """Do not offer this head any more; its file stays until the cache is cleared"""

    bl_idname = "facelift.dismiss_head"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}

    folder: StringProperty(subtype="DIR_PATH", options={"HIDDEN"})

    def execute(self, context):
        folders.claim(Path(self.folder))
        session.look_for_left()
        return {"FINISHED"}


class FACELIFT_OT_choose_runtime(bpy.types.Operator):
    """Choose the Python that reconstructs: one of version 3.11 to 3.13 with PyTorch, diffusers and transformers"""

    bl_idname = "facelift.choose_runtime"
    bl_label = "Use Existing Python…"
    bl_options = {"INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH")

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        preferences.get(context).runtime_python = self.filepath
        session.follow()
        return {"FINISHED"}


class FACELIFT_OT_check_runtime(bpy.types.Operator):
    """Start the runtime, import what FaceLift needs, try its devices and look at the weights"""

    bl_idname = "facelift.check_runtime"
    bl_label = "Check"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        own = preferences.get(context)
        if own.in_process:
            return {"FINISHED"}
        found = runtime_state.find(own)
        if found is None:
            self.report({"ERROR"}, "There is no runtime to check; choose a Python that has PyTorch.")
            return {"CANCELLED"}
        weights = preferences.weights(context, context.scene.facelift.weights)
        thread = runtime_state.check_soon(own, thorough=True, weights=weights)
        if not session.background():
            session.follow()
            return {"FINISHED"}
        if thread is not None:
            thread.join()
        check = runtime_state.known(found.python)
        if check is None or check.problems:
            self.report({"ERROR"}, " ".join(check.problems) if check else "The runtime could not be checked.")
            return {"CANCELLED"}
        return {"FINISHED"}


class FACELIFT_OT_release_memory(bpy.types.Operator):
    """End the worker, which frees the memory of the models; the next run loads them again"""

    bl_idname = "facelift.release_memory"
    bl_label = "Release Memory"
    bl_options = {"INTERNAL"}

    @classmethod
    def poll(cls, context):
        return here.runner.holds_models

    def execute(self, context):
        here.runner.release()
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


class FACELIFT_OT_choose_weights(bpy.types.Operator):
    """Choose the folder of a FaceLift checkpoint: the one that holds “mvdiffusion” and “gslrm”"""

    bl_idname = "facelift.choose_weights"
    bl_label = "Choose Weights…"
    bl_options = {"INTERNAL"}

    directory: StringProperty(subtype="DIR_PATH")
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        context.scene.facelift.weights = self.directory
        return {"FINISHED"}


class FACELIFT_OT_use_mini(bpy.types.Operator):
    """Use the small weights that come with FaceLift"""

    bl_idname = "facelift.use_mini"
    bl_label = "Use Built-in Weights"
    bl_options = {"INTERNAL", "UNDO"}

    def execute(self, context):
        context.scene.facelift.weights = "mini"
        return {"FINISHED"}


class FACELIFT_OT_add_camera(bpy.types.Operator):
    """Add a camera that looks at the active object from the front, and make it the scene's"""

    bl_idname = "facelift.add_camera"
    bl_label = "Add Camera"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        add_camera(context)
        return {"FINISHED"}


class FACELIFT_OT_copy_system_information(bpy.types.Operator):
    """Put versions, devices and the state of the runtime on the clipboard, to paste into a report"""

    bl_idname = "facelift.copy_system_information"
    bl_label = "Copy System Information"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        context.window_manager.clipboard = system_information(context)
        self.report({"INFO"}, "System information copied.")
        return {"FINISHED"}


class FACELIFT_OT_open_preferences(bpy.types.Operator):
    """Open FaceLift's preferences"""

    bl_idname = "facelift.open_preferences"
    bl_label = "Preferences…"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        bpy.ops.preferences.addon_show(module=preferences.FaceLiftPreferences.bl_idname)
        return {"FINISHED"}


def photos_of(own: settings.FaceLiftSettings) -> list[str]:
    """The scene's photos in order."""
    return [path for path in (own.photo, *(photo.path for photo in own.more_photos)) if path.strip()]


def add_camera(context) -> bpy.types.Object:
    """A camera of the scene in front of the active object, or of the 3D cursor, at a distance that shows a head."""
    ob = context.view_layer.objects.active
    scale = context.scene.unit_settings.scale_length or 1.0
    if ob is not None and max(ob.dimensions) > 0:
        middle = sum((ob.matrix_world @ corner for corner in map(Vector, ob.bound_box)), Vector((0, 0, 0))) / 8
        height = max(ob.dimensions)
    else:
        middle, height = context.scene.cursor.location.copy(), 0.3 / scale
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    distance = 0.75 * height / math.tan(camera.data.angle_y / 2)
    camera.location = middle + Vector((0, -distance, 0))
    camera.rotation_euler = (math.pi / 2, 0, 0)
    camera.data.clip_start = min(camera.data.clip_start, distance / 100)
    context.scene.collection.objects.link(camera)
    context.scene.camera = camera
    return camera


CLASSES = (
    FACELIFT_OT_reconstruct,
    FACELIFT_OT_cancel,
    FACELIFT_OT_import_head,
    FACELIFT_OT_dismiss_head,
    FACELIFT_OT_choose_runtime,
    FACELIFT_OT_check_runtime,
    FACELIFT_OT_release_memory,
    FACELIFT_OT_clear_cache,
    FACELIFT_OT_choose_weights,
    FACELIFT_OT_use_mini,
    FACELIFT_OT_add_camera,
    FACELIFT_OT_copy_system_information,
    FACELIFT_OT_open_preferences,
)
