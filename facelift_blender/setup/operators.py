"""Operators for setup: choose and check the runtime, choose weights, copy system information."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, StringProperty
from facelift_core import FaceLiftError

from .. import window
from ..jobs import timer
from ..operator_errors import Chooser, attempt
from . import preferences, runtime_state
from .system_information import system_information


class FACELIFT_OT_choose_runtime(Chooser, bpy.types.Operator):
    """Choose a Python that has PyTorch, diffusers and transformers: version 3.11 to 3.13"""

    bl_idname = "facelift.choose_runtime"
    bl_label = "Use Installed PyTorch…"
    bl_options = {"INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH")

    def execute(self, context):
        preferences.get(context).runtime_python = self.filepath
        timer.follow()
        return {"FINISHED"}


class FACELIFT_OT_check_runtime(bpy.types.Operator):
    """Check whether PyTorch works: start it, and test the GPU and the weights"""

    bl_idname = "facelift.check_runtime"
    bl_label = "Check"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        own = preferences.get(context)

        def work() -> None:
            found = runtime_state.find(own)
            if found is None:
                raise FaceLiftError("There is nothing to check; click Install PyTorch or Use Installed PyTorch.")
            weights = preferences.weights(context, context.scene.facelift.weights)
            thread = runtime_state.check_soon(own, thorough=True, weights=weights)
            if not window.background():
                timer.follow()
                return
            if thread is not None:
                thread.join()
            check = runtime_state.known(found.python)
            if check is None or check.problems:
                raise FaceLiftError(" ".join(check.problems) if check else "PyTorch could not be checked.")

        return attempt(self, work)


class FACELIFT_OT_choose_weights(Chooser, bpy.types.Operator):
    """Choose a folder with FaceLift weights, which contains the folders “mvdiffusion” and “gslrm”"""

    bl_idname = "facelift.choose_weights"
    bl_label = "Choose Weights…"
    bl_options = {"INTERNAL", "UNDO"}

    directory: StringProperty(subtype="DIR_PATH")
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def execute(self, context):
        context.scene.facelift.weights = self.directory
        return {"FINISHED"}


class FACELIFT_OT_use_mini(bpy.types.Operator):
    """Use the small weights that come with FaceLift, in preview quality"""

    bl_idname = "facelift.use_mini"
    bl_label = "Use Built-in Weights"
    bl_options = {"INTERNAL", "UNDO"}

    def execute(self, context):
        default = preferences.get(context).default_weights
        context.scene.facelift.weights = "" if default == "MINI" else "mini"
        return {"FINISHED"}


class FACELIFT_OT_copy_system_information(bpy.types.Operator):
    """Copy what a bug report needs to the clipboard: versions, GPU, settings, and the last error"""

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


CLASSES = (
    FACELIFT_OT_choose_runtime,
    FACELIFT_OT_check_runtime,
    FACELIFT_OT_choose_weights,
    FACELIFT_OT_use_mini,
    FACELIFT_OT_copy_system_information,
    FACELIFT_OT_open_preferences,
)
