"""Operators that download, check and remove the released weights, which :mod:`facelift_core.weights` implements."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import bpy
from bpy.props import BoolProperty, CollectionProperty, IntProperty, StringProperty
from facelift_core import FaceLiftError
from facelift_core.jobs.weights import Request
from facelift_core.weights import inventory, licence
from facelift_core.weights.import_files import read_licence
from facelift_core.weights.store import size_text

from .. import window
from ..jobs import bar, timer
from ..jobs.job import DONE, Job, WorkerSettings
from ..jobs.timer import jobs
from ..layout import paragraphs
from ..operator_errors import Chooser, Confirmed, attempt
from . import preferences, runtime_state

KIND = "weights"
LICENCE_ROWS, LICENCE_LETTERS = 14, 120
WIDTH = 720
OFFLINE = (
    "Blender's online access is off: turn on Preferences > System > Network > Allow Online Access, or import a copy "
    "of the weights that you downloaded on another computer."
)


def start(do: str, title: str, at_end: Callable[[Job], None] = lambda job: None, **request) -> Job:
    """Start a weights job in the runtime's Python, and call `at_end` when it ends.

    Args:
        do: a key of :data:`facelift_core.jobs.weights.STEPS`.
        title: name of the job in the interface.
        request: further fields of :class:`facelift_core.jobs.weights.Request`.

    Raises:
        FaceLiftError: the job needs a download and Blender's online access is off, or there is no runtime; in
            background mode, also any error of the job.
    """
    if do in ("download", "licence") and not request.get("source") and not bpy.app.online_access:
        raise FaceLiftError(OFFLINE)
    found = runtime_state.find(preferences.get())
    if found is None:
        raise FaceLiftError("The download needs PyTorch; click Install PyTorch first.")
    # Leaves the user's HF_HUB_OFFLINE as it is: callers have asked for a download.
    worker = WorkerSettings(found.python, offline=None)
    request = Request(do, str(preferences.store().root), **request)
    return timer.run_alone(Job(KIND, title, request, worker, lambda job, _: at_end(job) if job.over else None))


def get(source: str = "", remove_original: bool = True) -> None:
    """Download and convert the released weights, or import a copy from `source`; then use them by default.

    Raises:
        FaceLiftError: the license has not been accepted, or as :func:`start`.
    """
    licence.require(preferences.store())
    found = inventory.status(preferences.store())
    if source:
        start("import", "Importing weights", _use_them, source=source)
    elif found.complete and not found.converted:
        start("convert", "Converting weights", _use_them, remove_original=remove_original)
    else:
        start("download", "Downloading weights", _use_them, remove_original=remove_original)


def fetch_licence(source: str = "", at_end: Callable[[Job], None] = lambda job: None) -> None:
    """Fetch the license text if it is not stored yet.

    Raises:
        FaceLiftError: as :func:`start`, or `source` is not a copy of the weights.
    """
    store = preferences.store()
    if source:
        read_licence(store, Path(source))  # fast, and does not need the runtime
    elif licence.text(store) is None:
        start("licence", "Downloading the license", at_end)


def _use_them(job: Job) -> None:
    own = preferences.get()
    if job.state == DONE and own.default_weights == "MINI":
        own.default_weights = "RELEASED"


class FaceLiftLicenceLine(bpy.types.PropertyGroup):
    """One line of the license; its name is the text."""


class FACELIFT_UL_licence(bpy.types.UIList):
    """Scrollable license text."""

    bl_idname = "FACELIFT_UL_licence"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, *_):
        layout.label(text=item.name)

    def filter_items(self, context, data, property):
        return [], []


class FACELIFT_OT_get_weights(bpy.types.Operator):
    """Download the full-size weights of FaceLift's authors. Shows their license and the size first"""

    bl_idname = "facelift.get_weights"
    bl_label = "Get Released Weights"
    bl_options = {"INTERNAL"}

    source: StringProperty(
        name="Copy", description="Folder or zip to import. Leave empty to download", options={"HIDDEN", "SKIP_SAVE"}
    )
    accept: BoolProperty(
        name="I have read and accept this license",
        description="Required once, before the download",
        options={"SKIP_SAVE"},
    )
    remove_original: BoolProperty(
        name="Remove Original Files After Conversion",
        description="FaceLift only uses the converted weights. The originals use as much disk space as the download",
        default=True,
    )
    licence: CollectionProperty(type=FaceLiftLicenceLine, options={"HIDDEN", "SKIP_SAVE"})
    line: IntProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context, event):
        def work() -> None:
            fetch_licence(self.source, lambda job: _ask_again(job, source))

        source = self.source  # the operator no longer exists when the job ends
        result = attempt(self, work)
        text = licence.text(preferences.store(context))
        if result != {"FINISHED"} or text is None:
            return result
        self.licence.clear()
        for paragraph in text.expandtabs(4).splitlines():
            for line in textwrap.wrap(paragraph, LICENCE_LETTERS) or [""]:
                self.licence.add().name = line
        return context.window_manager.invoke_props_dialog(self, width=WIDTH)

    def draw(self, context):
        layout, store = self.layout, preferences.store(context)
        catalogue, found = store.catalogue, inventory.status(store)
        layout.label(text=catalogue.title, icon="TEXT")
        paragraphs(layout, f"{catalogue.licence}. {catalogue.licence_summary}", context, width=WIDTH)
        if found.accepted is None:
            layout.template_list(
                FACELIFT_UL_licence.bl_idname,
                "",
                self,
                "licence",
                self,
                "line",
                rows=LICENCE_ROWS,
                maxrows=LICENCE_ROWS,
            )
            layout.prop(self, "accept")
        else:
            layout.label(text=f"License accepted on {found.accepted[:10]}.", icon="CHECKMARK")
        paragraphs(layout, _sizes(catalogue, found, self.source), context, icon="IMPORT", width=WIDTH)
        paragraphs(layout, f"Saved in {store.folder}", context, icon="FILE_FOLDER", width=WIDTH)
        if not self.source:
            layout.prop(self, "remove_original")

    def execute(self, context):
        def work() -> None:
            store = preferences.store(context)
            if self.accept and licence.accepted(store) is None:
                fetch_licence(self.source)
                licence.accept(store)
            if licence.accepted(store) is None:
                raise FaceLiftError(
                    f"Nothing was downloaded: the {store.catalogue.licence} must be read and accepted first."
                )
            get(self.source, self.remove_original)

        return attempt(self, work)


class FACELIFT_OT_import_weights(Chooser, bpy.types.Operator):
    """Import released weights that you downloaded yourself, as a folder or a zip. Reports missing files"""

    bl_idname = "facelift.import_weights"
    bl_label = "Import Folder or Zip…"
    bl_options = {"INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH")
    filter_glob: StringProperty(default="*.zip", options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def execute(self, context):
        source = Path(bpy.path.abspath(self.filepath))
        if not source.exists() and source.parent.is_dir():  # a folder was opened with a file name left in the field
            source = source.parent
        if window.background():
            return attempt(self, lambda: get(str(source)))
        return bpy.ops.facelift.get_weights("INVOKE_DEFAULT", source=str(source))


class FACELIFT_OT_verify_weights(bpy.types.Operator):
    """Check the files of the released weights for damage"""

    bl_idname = "facelift.verify_weights"
    bl_label = "Verify"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> str | None:
            return start("verify", "Verifying weights").result.get("message")

        return attempt(self, work)


class FACELIFT_OT_remove_weights(Confirmed, bpy.types.Operator):
    """Delete the released weights from this computer, and nothing else"""

    bl_idname = "facelift.remove_weights"
    bl_label = "Remove"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> None:
            timer.end_worker()
            own = preferences.get(context)
            start("remove", "Removing weights")
            if own.default_weights == "RELEASED":
                own.default_weights = "MINI"

        return attempt(self, work)


class FACELIFT_OT_revoke_licence(bpy.types.Operator):
    """Withdraw your acceptance of the license. The released weights stay on disk but are no longer used"""

    bl_idname = "facelift.revoke_licence"
    bl_label = "Withdraw License Acceptance"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        return attempt(self, lambda: licence.revoke(preferences.store(context)))


def can_get() -> bool:
    """Whether the released weights can be downloaded, or already are and can be converted."""
    return bpy.app.online_access or inventory.status(preferences.store()).complete


def draw(layout, context) -> None:
    """Draw the state of the released weights and their buttons in the preferences."""
    store = preferences.store(context)
    found, catalogue = inventory.status(store), store.catalogue
    paragraphs(layout, f"Released weights: {_state(found, catalogue)}", context, icon=_icon(found))
    job = jobs.latest(KIND)
    if job is not None and job.state == DONE and (message := job.result.get("message")):
        paragraphs(layout, message, context, icon="INFO")
    bar.draw_latest(layout, KIND, context)
    column = layout.column()
    column.enabled = not jobs.active(KIND)
    row = column.row()
    if not (found.converted and found.accepted):
        online = row.row()
        online.enabled = can_get()
        online.operator("facelift.get_weights", text="Get Released Weights…", icon="IMPORT")
        row.operator("facelift.import_weights", icon="FILE_FOLDER")
    if found.original_bytes or found.converted:
        row = column.row()
        row.operator("facelift.verify_weights", icon="CHECKMARK")
        row.operator("facelift.remove_weights", icon="TRASH")
    if found.accepted:
        row.operator("facelift.revoke_licence", icon="X")


def _ask_again(job: Job, source: str) -> None:
    """Reopen the dialog once the license has been downloaded."""
    if job.state != DONE or window.background():
        return
    windows = [window for manager in bpy.data.window_managers for window in manager.windows]
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.facelift.get_weights("INVOKE_DEFAULT", source=source)


def _state(found, catalogue) -> str:
    if found.converted:
        return f"ready, {size_text(found.converted_bytes)}" + ("" if found.accepted else ", license not accepted")
    if found.complete:
        return "downloaded, not yet converted"
    if found.original_bytes:
        return f"{size_text(found.original_bytes)} of {size_text(catalogue.download_bytes)} downloaded"
    return f"not downloaded ({size_text(catalogue.download_bytes)})"


def _icon(found) -> str:
    return "CHECKMARK" if found.converted and found.accepted else "INFO"


def _sizes(catalogue, found, source: str) -> str:
    if found.converted:
        return "The weights are ready on this computer."
    after = f"{size_text(catalogue.converted_bytes)} for the converted weights"
    if source or found.complete:
        return f"Disk space needed: {after}."
    left = max(0, catalogue.download_bytes - found.original_bytes)
    return f"Download: {size_text(left)} from {catalogue.repository}. Additional disk space: {after}."


CLASSES = (
    FaceLiftLicenceLine,
    FACELIFT_UL_licence,
    FACELIFT_OT_get_weights,
    FACELIFT_OT_import_weights,
    FACELIFT_OT_verify_weights,
    FACELIFT_OT_remove_weights,
    FACELIFT_OT_revoke_licence,
)
