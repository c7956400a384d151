"""The buttons that get, check and remove the released weights; the work itself is :mod:`facelift_core.weights`."""

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
from ..jobs import timer
from ..jobs.job import DONE, Job, WorkerSettings
from ..jobs.timer import jobs
from ..layout import paragraphs
from ..operator_errors import Chooser, Confirmed, attempt
from . import preferences, runtime_state
from .runtime_operators import draw_job

KIND = "weights"
LICENCE_ROWS, LICENCE_LETTERS = 14, 120
OFFLINE = (
    "Blender's online access is off: switch on Preferences > System > Network > Allow Online Access, or import a copy "
    "of the weights that was downloaded elsewhere."
)


def start(do: str, title: str, at_end: Callable[[Job], None] = lambda job: None, **request) -> Job:
    """Have the runtime's Python do `do` of :data:`facelift_core.jobs.weights.STEPS`; then call `at_end`.

    Raises:
        FaceLiftError: it would download and Blender's online access is off, or there is no runtime; without a window
            also whatever the work raises.
    """
    if do in ("download", "licence") and not request.get("source") and not bpy.app.online_access:
        raise FaceLiftError(OFFLINE)
    found = runtime_state.find(preferences.get())
    if found is None:
        raise FaceLiftError("There is no runtime yet, which does the download; install it first.")
    # Online as far as the person's own HF_HUB_OFFLINE allows: whoever calls this has asked for a download.
    worker = WorkerSettings(found.python, offline=None)
    request = Request(do, str(preferences.store().root), **request)
    return timer.run_alone(Job(KIND, title, request, worker, lambda job, _: at_end(job) if job.over else None))


def get(source: str = "", remove_original: bool = True) -> None:
    """Make the released weights ready, from the hub or from a copy at `source`, and use them from then on.

    Raises:
        FaceLiftError: the licence is not accepted; or see :func:`start`.
    """
    licence.require(preferences.store())
    found = inventory.status(preferences.store())
    if source:
        start("import", "Importing weights", _use_them, source=source)
    elif found.complete and not found.converted:
        start("convert", "Converting weights", _use_them, remove_original=remove_original)
    else:
        start("download", "Released weights", _use_them, remove_original=remove_original)


def fetch_licence(source: str = "", at_end: Callable[[Job], None] = lambda job: None) -> None:
    """Have the text of the licence here. Raises FaceLiftError: see :func:`start`, or `source` is no copy."""
    store = preferences.store()
    if source:
        read_licence(store, Path(source))  # in a moment, and without the runtime
    elif licence.text(store) is None:
        start("licence", "Fetching the licence", at_end)


def _use_them(job: Job) -> None:
    own = preferences.get()
    if job.state == DONE and own.default_weights == "MINI":
        own.default_weights = "RELEASED"


class FaceLiftLicenceLine(bpy.types.PropertyGroup):
    """One line; its name is the text."""


class FACELIFT_UL_licence(bpy.types.UIList):
    """The licence, to scroll through."""

    bl_idname = "FACELIFT_UL_licence"

    def draw_item(self, context, layout, data, item, icon, active_data, active_property, *_):
        layout.label(text=item.name)

    def filter_items(self, context, data, property):
        return [], []


class FACELIFT_OT_get_weights(bpy.types.Operator):
    """Get the weights that FaceLift's authors released: shows their licence and the sizes before anything is fetched"""

    bl_idname = "facelift.get_weights"
    bl_label = "Released Weights"
    bl_options = {"INTERNAL"}

    source: StringProperty(
        name="Copy", description="Folder or zip to import; empty: download", options={"HIDDEN", "SKIP_SAVE"}
    )
    accept: BoolProperty(
        name="I have read this licence and accept it",
        description="Needed once; scripts say it here",
        options={"SKIP_SAVE"},
    )
    remove_original: BoolProperty(
        name="Remove the originals once they are converted",
        description="They are not needed any more; keeping them takes as much room again as the download",
        default=True,
    )
    licence: CollectionProperty(type=FaceLiftLicenceLine, options={"HIDDEN", "SKIP_SAVE"})
    line: IntProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context, event):
        def work() -> None:
            fetch_licence(self.source, lambda job: _ask_again(job, source))

        source = self.source  # the operator itself is gone when the job ends
        result = attempt(self, work)
        text = licence.text(preferences.store(context))
        if result != {"FINISHED"} or text is None:
            return result
        self.licence.clear()
        for paragraph in text.expandtabs(4).splitlines():
            for line in textwrap.wrap(paragraph, LICENCE_LETTERS) or [""]:
                self.licence.add().name = line
        return context.window_manager.invoke_props_dialog(self, width=720)

    def draw(self, context):
        layout, store = self.layout, preferences.store(context)
        catalogue, found = store.catalogue, inventory.status(store)
        layout.label(text=catalogue.title, icon="TEXT")
        paragraphs(layout, f"{catalogue.licence}. {catalogue.licence_summary}", context, indent=-500)
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
            layout.label(text=f"The licence was accepted on {found.accepted[:10]}.", icon="CHECKMARK")
        paragraphs(layout, _sizes(catalogue, found, self.source), context, icon="IMPORT", indent=-500)
        paragraphs(layout, f"They are kept in {store.folder}", context, icon="FILE_FOLDER", indent=-500)
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
                    f"Nothing was fetched: the {store.catalogue.licence} has to be read and accepted first."
                )
            get(self.source, self.remove_original)

        return attempt(self, work)


class FACELIFT_OT_import_weights(Chooser, bpy.types.Operator):
    """Use released weights that were downloaded by hand: the folder, or a zip of it. Says what is missing"""

    bl_idname = "facelift.import_weights"
    bl_label = "Import Folder or Zip…"
    bl_options = {"INTERNAL"}

    filepath: StringProperty(subtype="FILE_PATH")
    filter_glob: StringProperty(default="*.zip", options={"HIDDEN"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def execute(self, context):
        source = Path(bpy.path.abspath(self.filepath))
        if not source.exists() and source.parent.is_dir():  # a folder was entered, and a name left in the field
            source = source.parent
        if window.background():
            return attempt(self, lambda: get(str(source)))
        return bpy.ops.facelift.get_weights("INVOKE_DEFAULT", source=str(source))


class FACELIFT_OT_verify_weights(bpy.types.Operator):
    """Read the released weights again and compare their checksums"""

    bl_idname = "facelift.verify_weights"
    bl_label = "Verify"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> str | None:
            return start("verify", "Verifying weights").result.get("message")

        return attempt(self, work)


class FACELIFT_OT_remove_weights(Confirmed, bpy.types.Operator):
    """Remove the released weights from the disk, and nothing else"""

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
    """Take the acceptance of the licence back: the released weights stay on the disk and are not used any more"""

    bl_idname = "facelift.revoke_licence"
    bl_label = "Take Acceptance Back"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        return attempt(self, lambda: licence.revoke(preferences.store(context)))


def draw(layout, context) -> None:
    """The weights in the preferences: what is there, and the buttons."""
    store = preferences.store(context)
    found, catalogue = inventory.status(store), store.catalogue
    paragraphs(layout, f"Released weights: {_state(found, catalogue)}", context, icon=_icon(found))
    job = jobs.latest(KIND)
    if job is not None and job.state == DONE and (message := job.result.get("message")):
        paragraphs(layout, message, context, icon="INFO")
    draw_job(layout, KIND, context)
    column = layout.column()
    column.enabled = not jobs.active(KIND)
    row = column.row()
    if not (found.converted and found.accepted):
        row.operator("facelift.get_weights", text="Get Released Weights…", icon="IMPORT")
        row.operator("facelift.import_weights", icon="FILE_FOLDER")
    if found.original_bytes or found.converted:
        row = column.row()
        row.operator("facelift.verify_weights", icon="CHECKMARK")
        row.operator("facelift.remove_weights", icon="TRASH")
    if found.accepted:
        row.operator("facelift.revoke_licence", icon="X")


def _ask_again(job: Job, source: str) -> None:
    """Once the licence is here, show it; the button shows it too, should this window be gone."""
    if job.state != DONE or window.background():
        return
    windows = [window for manager in bpy.data.window_managers for window in manager.windows]
    if windows:
        with bpy.context.temp_override(window=windows[0]):
            bpy.ops.facelift.get_weights("INVOKE_DEFAULT", source=source)


def _state(found, catalogue) -> str:
    if found.converted:
        return f"ready, {size_text(found.converted_bytes)}" + ("" if found.accepted else ", licence not accepted")
    if found.complete:
        return "downloaded, not converted yet"
    if found.original_bytes:
        return f"{size_text(found.original_bytes)} of {size_text(catalogue.download_bytes)} downloaded"
    return f"not here ({size_text(catalogue.download_bytes)})"


def _icon(found) -> str:
    return "CHECKMARK" if found.converted and found.accepted else "INFO"


def _sizes(catalogue, found, source: str) -> str:
    if found.converted:
        return "They are on this machine and ready."
    after = f"{size_text(catalogue.converted_bytes)} for the converted weights"
    if source or found.complete:
        return f"Needed on the disk: {after}."
    left = max(0, catalogue.download_bytes - found.original_bytes)
    return f"To download: {size_text(left)} from {catalogue.repository}; needed on the disk also {after}."


CLASSES = (
    FaceLiftLicenceLine,
    FACELIFT_UL_licence,
    FACELIFT_OT_get_weights,
    FACELIFT_OT_import_weights,
    FACELIFT_OT_verify_weights,
    FACELIFT_OT_remove_weights,
    FACELIFT_OT_revoke_licence,
)
