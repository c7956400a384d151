"""Operators for faces. Each one collects its properties and calls a function."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty
from bpy_extras.io_utils import ImportHelper

from ..operator_errors import attempt
from ..splats import objects
from . import capturing, gaze, names, posing, rigging
from .poses import POSES

_VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
_CAPTURES = (".csv", ".json")
_PARTS = [
    ("FACE", "Face Mesh", "The mesh with the shape keys of the expressions"),
    ("BONES", "Bones", "The skeleton: neck, head, jaw and eyes"),
]


class _WithFace:
    @classmethod
    def poll(cls, context):
        return names.head_of(context.object) is not None


class FACELIFT_OT_rig_face(bpy.types.Operator):
    """Make the active head's face movable: a mesh with 52 expressions and a skeleton that the splats follow. Adds eyes
    behind the lids and the inside of the mouth. Runs in the background"""

    bl_idname = "facelift.rig_face"
    bl_label = "Rig Face"
    bl_options = {"REGISTER"}

    @classmethod
    def poll(cls, context):
        return _head(context) is not None

    def execute(self, context):
        def work() -> None:
            rigging.rig_face(context, _head(context))

        return attempt(self, work)


def _head(context) -> bpy.types.Object | None:
    """The active head, or that of the active face."""
    item = names.head_of(context.object) or context.object
    return item if objects.is_splat_object(item) else None


class FACELIFT_OT_pose_face(_WithFace, bpy.types.Operator):
    """Show an expression"""

    bl_idname = "facelift.pose_face"
    bl_label = "Expression"
    bl_options = {"REGISTER", "UNDO"}

    expression: EnumProperty(
        name="Expression", items=[(key, pose.label, pose.tip) for key, pose in POSES.items()], default="SMILE"
    )
    strength: FloatProperty(name="Strength", default=1.0, min=0.0, max=1.0, subtype="FACTOR")

    def execute(self, context):
        head = names.head_of(context.object)
        return attempt(self, lambda: posing.pose(context.scene, head, self.expression, self.strength))


class FACELIFT_OT_reset_face(_WithFace, bpy.types.Operator):
    """Show the expression of the photo again, with head and eyes straight"""

    bl_idname = "facelift.reset_face"
    bl_label = "Reset"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        return attempt(self, lambda: posing.reset(context.scene, names.head_of(context.object)))


class FACELIFT_OT_key_face(_WithFace, bpy.types.Operator):
    """Insert keyframes of all sliders at the current frame"""

    bl_idname = "facelift.key_face"
    bl_label = "Key All"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        def work() -> str:
            return f"{posing.key_all(context.scene, names.head_of(context.object))} keyframes inserted"

        return attempt(self, work)


class FACELIFT_OT_blink(_WithFace, bpy.types.Operator):
    """Insert keyframes that close and open the eyes, from the current frame on"""

    bl_idname = "facelift.blink"
    bl_label = "Blink"
    bl_options = {"REGISTER", "UNDO"}

    repeat: BoolProperty(name="Repeat", default=False, description="Again every 2 to 6 seconds, to the scene's end")
    seed: IntProperty(name="Seed", default=0, min=0, description="Other pauses between the blinks")

    def execute(self, context):
        def work() -> str:
            count = posing.blink(context.scene, names.head_of(context.object), self.repeat, self.seed)
            return f"{count} blinks inserted" if count > 1 else "Blink inserted"

        return attempt(self, work)


class FACELIFT_OT_look_at(_WithFace, bpy.types.Operator):
    """Let the eyes follow an object: the other selected one, or a new empty in front of the face"""

    bl_idname = "facelift.look_at"
    bl_label = "Look At"
    bl_options = {"REGISTER", "UNDO"}

    on: BoolProperty(name="On", default=True, options={"SKIP_SAVE"})

    def execute(self, context):
        def work() -> None:
            head = names.head_of(context.object)
            parts = (head, names.face_of(head), names.rig_of(head))
            target = next((item for item in context.selected_objects if item not in parts), None)
            gaze.look_at(head, target) if self.on else gaze.stop(head)

        return attempt(self, work)


class FACELIFT_OT_show_face_part(_WithFace, bpy.types.Operator):
    """Show or hide the face mesh or the bones in the viewport, to edit or animate them directly"""

    bl_idname = "facelift.show_face_part"
    bl_label = "Show Face Part"
    bl_options = {"REGISTER", "UNDO"}

    part: EnumProperty(name="Part", items=_PARTS, default="FACE")

    def execute(self, context):
        head = names.head_of(context.object)
        part = names.face_of(head) if self.part == "FACE" else names.rig_of(head)
        if part is not None:
            part.hide_set(not part.hide_get())
        return {"FINISHED"}


class FACELIFT_OT_import_face_capture(_WithFace, bpy.types.Operator, ImportHelper):
    """Animate the active head's face from the current frame on with a recording of Live Link Face (.csv), or another
    file with the 52 shapes of ARKit (.csv, .json)"""

    bl_idname = "facelift.import_face_capture"
    bl_label = "Import Face Capture"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".csv"
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in _CAPTURES), options={"HIDDEN"})
    turn_head: BoolProperty(name="Turn the Head", default=True, description="The head turns as in the recording")

    def execute(self, context):
        def work() -> str:
            path = Path(bpy.path.abspath(self.filepath))
            return capturing.import_take(context.scene, names.head_of(context.object), path, self.turn_head)

        return attempt(self, work)

    def invoke(self, context, event):
        if self.filepath:  # dropped
            return self.execute(context)
        return ImportHelper.invoke(self, context, event)


class FACELIFT_OT_animate_from_video(_WithFace, bpy.types.Operator, ImportHelper):
    """Animate the active head's face from the current frame on with the expressions of a person in a video. Runs in
    the background"""

    bl_idname = "facelift.animate_from_video"
    bl_label = "Animate from Video"
    bl_options = {"REGISTER"}

    filename_ext = ".mp4"
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in _VIDEOS), options={"HIDDEN"})
    turn_head: BoolProperty(name="Turn the Head", default=True, description="The head turns as in the video")

    def execute(self, context):
        def work() -> None:
            path = Path(bpy.path.abspath(self.filepath))
            capturing.animate_from_video(context, names.head_of(context.object), path, self.turn_head)

        return attempt(self, work)


class FACELIFT_FH_face_capture(bpy.types.FileHandler):
    """Face captures dropped on a viewport whose active object is a head with a face"""

    bl_idname = "FACELIFT_FH_face_capture"
    bl_label = "Face Capture"
    bl_import_operator = "facelift.import_face_capture"
    bl_file_extensions = ";".join(_CAPTURES)

    @classmethod
    def poll_drop(cls, context):
        area = context.area
        return area is not None and area.type == "VIEW_3D" and names.head_of(context.object) is not None


CLASSES = (
    FACELIFT_OT_rig_face,
    FACELIFT_OT_pose_face,
    FACELIFT_OT_reset_face,
    FACELIFT_OT_key_face,
    FACELIFT_OT_blink,
    FACELIFT_OT_look_at,
    FACELIFT_OT_show_face_part,
    FACELIFT_OT_import_face_capture,
    FACELIFT_OT_animate_from_video,
    FACELIFT_FH_face_capture,
)
