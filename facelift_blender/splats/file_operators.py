"""Operators that import and export files, and the handler for dropped ones."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, CollectionProperty, EnumProperty, FloatProperty, StringProperty
from bpy_extras.io_utils import ExportHelper, ImportHelper

from ..operator_errors import attempt
from . import exporting, importing


class FACELIFT_OT_import_splats(bpy.types.Operator, ImportHelper):
    """Import Gaussian splats from .ply files"""

    bl_idname = "facelift.import_splats"
    bl_label = "Import Gaussian Splats"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    scale: FloatProperty(name="Scale", default=1.0, min=1e-6, soft_max=100.0, description="Factor for the size")
    up_axis: EnumProperty(name="Up Axis", items=importing.UP_AXES, description="Axis that points up in the file")
    at_cursor: BoolProperty(name="At 3D Cursor", default=False, description="Place at the cursor, not the origin")

    def execute(self, context):
        def work() -> str:
            made = [
                importing.import_splats(context, path, scale=self.scale, up_axis=self.up_axis, at_cursor=self.at_cursor)
                for path in importing.paths_of(self)
            ]
            return f"{sum(len(item.data.points) for item in made):,} splats imported"

        return attempt(self, work)

    def invoke(self, context, event):
        if self.directory or self.filepath:  # dropped
            return self.execute(context)
        return ImportHelper.invoke(self, context, event)


class FACELIFT_OT_export_splats(bpy.types.Operator, ExportHelper):
    """Export the selected splats, with all edits, to one .ply file for splat viewers"""

    bl_idname = "facelift.export_splats"
    bl_label = "Export Gaussian Splats"

    filename_ext = ".ply"
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})
    apply_transform: BoolProperty(
        name="Apply Transform", default=True, description="Export in world space. Turn off to export in object space"
    )

    @classmethod
    def poll(cls, context):
        return bool(exporting.chosen(context))

    def execute(self, context):
        def work() -> str:
            items = exporting.chosen(context)
            count = exporting.export_splats(context.scene, items, self.filepath, apply_transform=self.apply_transform)
            return f"{count:,} splats written to {self.filepath}"

        return attempt(self, work)


class FACELIFT_FH_splats(bpy.types.FileHandler):
    bl_idname = "FACELIFT_FH_splats"
    bl_label = "Gaussian Splats (FaceLift)"
    bl_import_operator = "facelift.import_splats"
    bl_export_operator = "facelift.export_splats"
    bl_file_extensions = ".ply"

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"


CLASSES = (FACELIFT_OT_import_splats, FACELIFT_OT_export_splats, FACELIFT_FH_splats)
