"""Operators that import and export files, and the handler for dropped ones."""

from __future__ import annotations

from pathlib import Path

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    FloatVectorProperty,
    IntProperty,
    StringProperty,
)
from bpy_extras.io_utils import ExportHelper, ImportHelper
from facelift_core.gaussians import files as formats

from .. import window
from ..jobs import timer
from ..operator_errors import attempt
from . import conversion, exporting, importing, loading, previews, web_page

_PATTERNS = ";".join(f"*{suffix}" for suffix in formats.SUFFIXES)
_WHEN = {
    ".ply": "For most programs: nothing is lost",
    ".compressed.ply": "For SuperSplat and other programs of PlayCanvas: smaller, with little loss",
    ".spz": "For Blender 5.3 and small files",
    ".sog": "For web pages made with PlayCanvas",
    ".splat": "For older web viewers, which have no view-dependent color",
    ".glb": "For programs that open splats in glTF, such as Blender 5.3",
    ".usda": "For USD files that can be read as text",
    ".usdc": "For programs with USD 26.03 or newer",
}
_FORMATS = [
    (entry.suffix, f"{entry.name} ({entry.suffix})", _WHEN.get(entry.suffix, f"For programs that open {entry.name}"))
    for entry in formats.FORMATS
]
_VERSIONS = [("3", "3", "Opens everywhere"), ("2", "2", "For older programs"), ("4", "4", "Smallest")]
_OPTIONS = ("place", "scale", "up_axis", "at_cursor")
"""Of an import."""
_DEGREES = [
    ("3", "Full", "Keep all view-dependent color"),
    ("2", "Degree 2", "Keep view-dependent color of degrees 1 and 2"),
    ("1", "Degree 1", "Keep view-dependent color of degree 1"),
    ("0", "None", "Leave out view-dependent color, for the smallest files"),
]


def _name_by_format(operator: bpy.types.Operator, context: bpy.types.Context) -> None:
    """Give the file in the file browser the suffix of the chosen format."""
    params = getattr(context.space_data, "params", None)
    if params is not None:
        params.filename = f"{_without_suffix(params.filename)}{operator.file_format}"


def _without_suffix(name: str) -> str:
    known = [entry.suffix for entry in formats.FORMATS if name.lower().endswith(entry.suffix)]
    return name[: -max(map(len, known))] if known else name


class FACELIFT_OT_import_splats(bpy.types.Operator, ImportHelper):
    """Import Gaussian splats from files"""

    bl_idname = "facelift.import_splats"
    bl_label = "Import Gaussian Splats"
    bl_options = {"REGISTER", "UNDO"}

    filename_ext = ".ply"
    filter_glob: StringProperty(default=_PATTERNS, options={"HIDDEN"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: CollectionProperty(type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"})
    scale: FloatProperty(name="Scale", default=1.0, min=1e-6, soft_max=100.0, description="Factor for the size")
    up_axis: EnumProperty(name="Up Axis", items=importing.UP_AXES, description="Axis that points up in the file")
    place: EnumProperty(
        name="Place",
        items=importing.PLACES,
        description="Where the splats go. Exports write them where they are in the scene",
    )
    at_cursor: BoolProperty(name="At 3D Cursor", default=False, description="Place at the cursor")

    def execute(self, context):
        options = {name: getattr(self, name) for name in _OPTIONS}

        def work() -> str | None:
            paths = [Path(bpy.path.abspath(str(path))) for path in importing.paths_of(self)]
            later = [loading.start(context, path, **options) for path in paths if loading.wanted(path)]
            made = [importing.import_splats(context, path, **options) for path in paths if not loading.wanted(path)]
            if later:
                return "Importing; the panel Splats shows the progress"
            return f"{sum(len(item.data.points) for item in made):,} splats imported"

        return attempt(self, work)

    def invoke(self, context, event):
        if not (self.directory or self.filepath):
            return ImportHelper.invoke(self, context, event)
        if window.background():
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(self, width=320)  # dropped

    def draw(self, context):
        layout = self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        path = previews.shown_file(self, context)
        if path is not None:
            if icon := previews.icon_of(path, self.up_axis):
                layout.template_icon(icon, scale=9.0)
            layout.label(text=path.name)
        for name in _OPTIONS:
            layout.prop(self, name)


class FACELIFT_OT_export_splats(bpy.types.Operator, ExportHelper):
    """Export splats, as they are rendered, to one file for splat viewers and other programs"""

    bl_idname = "facelift.export_splats"
    bl_label = "Export Gaussian Splats"

    filename_ext = ".ply"
    check_extension = None  # the suffix may have two parts
    filter_glob: StringProperty(default=_PATTERNS, options={"HIDDEN"})
    file_format: EnumProperty(
        name="Format", items=_FORMATS, update=_name_by_format, description="Used if the file's name states none"
    )
    use_selection: BoolProperty(
        name="Selected Objects", default=True, description="Export selected objects only; otherwise all visible splats"
    )
    apply_modifiers: BoolProperty(
        name="Apply Modifiers", default=True, description="Export as rendered, with crop, colors and deleted points"
    )
    apply_transform: BoolProperty(
        name="Apply Transform", default=True, description="Export in world space. Turn off to export in object space"
    )
    up_axis: EnumProperty(name="Up Axis", items=importing.UP_AXES, description="Axis that points up in the file")
    sh_degree: EnumProperty(name="View-Dependent Color", items=_DEGREES, description="How much of it to keep")
    spz_version: EnumProperty(name="SPZ Version", items=_VERSIONS)

    @classmethod
    def poll(cls, context):
        return bool(exporting.chosen(context) or exporting.chosen(context, selection_only=False))

    def draw(self, context):
        layout = self.layout
        layout.use_property_split, layout.use_property_decorate = True, False
        layout.prop(self, "file_format")
        for name in ("use_selection", "apply_modifiers", "apply_transform"):
            layout.prop(self, name)
        if self.file_format not in exporting.STATED_AXES:
            layout.prop(self, "up_axis")
        if next(entry for entry in formats.FORMATS if entry.suffix == self.file_format).sh_degree:
            layout.prop(self, "sh_degree")
        if self.file_format == ".spz":
            layout.prop(self, "spz_version")

    def execute(self, context):
        def work() -> str:
            path = self.filepath
            if "." not in bpy.path.basename(path):
                path += self.file_format
            count = exporting.export_splats(
                context.scene,
                exporting.chosen(context, self.use_selection),
                path,
                apply_transform=self.apply_transform,
                apply_modifiers=self.apply_modifiers,
                up_axis=self.up_axis,
                sh_degree=int(self.sh_degree),
                version=int(self.spz_version),
            )
            going_on = bool(timer.jobs.active(conversion.KIND))
            return f"{count:,} splats {'are being ' if going_on else ''}written to {path}"

        return attempt(self, work)


class FACELIFT_OT_export_web_page(bpy.types.Operator, ExportHelper):
    """Export the selected splats, as they are rendered, to one HTML file that any browser opens"""

    bl_idname = "facelift.export_web_page"
    bl_label = "Export Web Page"

    filename_ext = ".html"
    filter_glob: StringProperty(default="*.html", options={"HIDDEN"})
    background: FloatVectorProperty(
        name="Background", subtype="COLOR_GAMMA", size=3, min=0.0, max=1.0, default=(1.0, 1.0, 1.0)
    )
    auto_rotate: BoolProperty(name="Rotate", default=True, description="Turn until someone touches it")

    @classmethod
    def poll(cls, context):
        return bool(exporting.chosen(context))

    def execute(self, context):
        def work() -> str:
            items = exporting.chosen(context)
            background = "#" + "".join(f"{round(255 * value):02x}" for value in self.background)
            path = Path(bpy.path.abspath(self.filepath))
            web_page.export(context.scene, items, path, background=background, auto_rotate=self.auto_rotate)
            return f"{path} written"

        return attempt(self, work)


class FACELIFT_OT_cancel_import(bpy.types.Operator):
    """Stop this import"""

    bl_idname = "facelift.cancel_import"
    bl_label = "Cancel Import"
    bl_options = {"INTERNAL"}

    number: IntProperty(options={"HIDDEN"})

    def execute(self, context):
        if 0 <= self.number < len(loading.active):
            loading.active[self.number][0].cancel.set()
        return {"FINISHED"}


class FACELIFT_FH_splats(bpy.types.FileHandler):
    bl_idname = "FACELIFT_FH_splats"
    bl_label = "Gaussian Splats (FaceLift)"
    bl_import_operator = "facelift.import_splats"
    bl_export_operator = "facelift.export_splats"
    bl_file_extensions = ";".join(formats.SUFFIXES)

    @classmethod
    def poll_drop(cls, context):
        return context.area is not None and context.area.type == "VIEW_3D"


CLASSES = (
    FACELIFT_OT_import_splats,
    FACELIFT_OT_export_splats,
    FACELIFT_OT_export_web_page,
    FACELIFT_OT_cancel_import,
    FACELIFT_FH_splats,
)
