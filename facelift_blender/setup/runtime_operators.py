"""Operators that install, repair and remove the runtime, which :mod:`facelift_core.environment` implements."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from facelift_core import FaceLiftError
from facelift_core.environment import location
from facelift_core.environment.remove import LOG
from facelift_core.environment.torch_build import BUILDS as TORCH_BUILDS
from facelift_core.jobs.runtime import Request
from facelift_core.processes.protocol import Event

from ..jobs import bar, timer
from ..jobs.job import DONE, Job, WorkerSettings
from ..jobs.timer import jobs
from ..layout import paragraphs
from ..operator_errors import Chooser, Confirmed, attempt
from . import preferences, runtime_state

KIND = "runtime"
WIDTH = 520
OFFLINE = (
    "Blender's online access is off: turn on Preferences > System > Network > Allow Online Access, or click Install "
    "from Folder."
)


_SYSTEM = "linux" if sys.platform.startswith("linux") else sys.platform
BUILDS = (
    ("auto", "Automatic", "For most computers: chosen by the GPU and its driver"),
    *((build.name, build.label, "") for build in TORCH_BUILDS.get(_SYSTEM, ())),
)


def start(request: Request, title: str) -> Job:
    """Install, repair or remove the runtime. A newly installed or repaired runtime is then used.

    Raises:
        FaceLiftError: the job needs a download and Blender's online access is off, this machine or folder is not
            suitable, or a reconstruction is active; in background mode, also any error of the installation.
    """
    if request.do != "remove":
        if not request.wheels and not bpy.app.online_access:
            raise FaceLiftError(OFFLINE)
        request.plan()
    timer.end_worker()
    # Blender's own Python runs this worker, because it needs nothing that is about to be installed.
    worker = WorkerSettings(Path(sys.executable), offline=None)
    return timer.run_alone(Job(KIND, title, request, worker, _heard))


def _heard(job: Job, _: Event) -> None:
    """When the job ends, switch the preferences to the installed runtime and check it."""
    if not job.over:
        return
    own = preferences.get()
    if job.state == DONE and job.request.do != "remove":
        own.runtime_python = ""
    runtime_state.forget()
    runtime_state.check_soon(own)
    timer.follow()


class FACELIFT_OT_install_runtime(bpy.types.Operator):
    """Set up FaceLift once: download PyTorch, which it computes with, into a folder of its own. Shows the size first"""

    bl_idname = "facelift.install_runtime"
    bl_label = "Install PyTorch"
    bl_options = {"INTERNAL"}

    folder: StringProperty(
        name="Folder",
        description="Folder to install into. Leave empty to use your data folder, which all Blender versions share",
        subtype="DIR_PATH",
    )
    python: StringProperty(
        name="Python",
        description="Python 3.11 to 3.13 to use. Leave empty to use Blender's own, or one installed on this computer",
        subtype="FILE_PATH",
    )
    build: EnumProperty(name="GPU", description="GPU to install PyTorch for", items=BUILDS, default="auto")
    index_url: StringProperty(
        name="Download Server", description="Address of a mirror. Leave empty to use the default servers"
    )
    proxy: StringProperty(
        name="Proxy", description="For example http://name:password@host:port. Leave empty to use the system's settings"
    )
    consent: BoolProperty(
        name="Download",
        description="Agree to the download",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    def invoke(self, context, event):
        if not bpy.app.online_access:
            self.report({"ERROR"}, OFFLINE)
            return {"CANCELLED"}
        self._planned = None
        self.consent = True  # confirming the dialog is consent
        return context.window_manager.invoke_props_dialog(self, width=WIDTH, confirm_text="Download and Install")

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        text, will_do = self._text()
        paragraphs(layout, text, context, icon="IMPORT" if will_do else "ERROR", width=WIDTH)
        column = layout.column()
        column.prop(self, "folder")
        column.prop(self, "build")
        column.prop(self, "python")
        column.prop(self, "index_url")
        column.prop(self, "proxy")
        if not will_do:
            layout.label(text="Change the settings above to continue.", icon="INFO")

    def execute(self, context):
        def work() -> None:
            if not self.consent:
                raise FaceLiftError("Nothing was installed: set consent=True to agree to the download.")
            start(self._request(), "Installing PyTorch")

        return attempt(self, work)

    def _request(self) -> Request:
        index_url, proxy = self.index_url.strip(), self.proxy.strip()
        return Request("install", _chosen(self.folder), _chosen(self.python), self.build, index_url, proxy)

    def _text(self) -> tuple[str, bool]:
        """What would be installed, and whether it can be. Cached, because Blender redraws on every mouse move."""
        key = (self.folder, self.python, self.build)
        if self._planned is None or self._planned[0] != key:
            try:
                plan = self._request().plan()
                enough = plan.free >= plan.needed
                text = plan.text if enough else f"{plan.text} There is not enough free space."
                self._planned = (key, f"{text} {plan.note}".strip(), enough)
            except FaceLiftError as error:
                self._planned = (key, str(error), False)
        return self._planned[1], self._planned[2]


class FACELIFT_OT_install_runtime_from_folder(Chooser, bpy.types.Operator):
    """Install PyTorch without an internet connection, from a folder of files that were downloaded elsewhere"""

    bl_idname = "facelift.install_runtime_from_folder"
    bl_label = "Install from Folder…"
    bl_options = {"INTERNAL"}

    directory: StringProperty(subtype="DIR_PATH")
    folder: StringProperty(
        name="Folder", description="Folder to install into. Leave empty to use your data folder", subtype="DIR_PATH"
    )
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def execute(self, context):
        def work() -> None:
            wheels = str(Path(bpy.path.abspath(self.directory)).absolute())
            start(Request("install", _chosen(self.folder), wheels=wheels), "Installing PyTorch")

        return attempt(self, work)


class FACELIFT_OT_repair_runtime(Confirmed, bpy.types.Operator):
    """Check every installed file of PyTorch, and install damaged or missing ones again"""

    bl_idname = "facelift.repair_runtime"
    bl_label = "Repair"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> None:
            made = location.read(location.chosen_folder())
            if made is None:
                raise FaceLiftError("There is nothing to repair; click Install PyTorch.")
            start(Request("repair", build=made.build or "auto"), "Repairing PyTorch")

        return attempt(self, work)


class FACELIFT_OT_remove_runtime(Confirmed, bpy.types.Operator):
    """Delete what Install PyTorch installed, and nothing else"""

    bl_idname = "facelift.remove_runtime"
    bl_label = "Remove"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> str | None:
            if location.read(location.chosen_folder()) is None:
                raise FaceLiftError("There is nothing to remove: FaceLift has not installed PyTorch.")
            return start(Request("remove"), "Removing PyTorch").result.get("message")

        return attempt(self, work)


def draw(layout, context) -> None:
    """Draw the runtime's buttons in the preferences."""
    bar.draw_latest(layout, KIND, context)
    folder = location.chosen_folder()
    made = location.read(folder)
    column = layout.column()
    column.enabled = not jobs.active(KIND)
    row = column.row()
    online = row.row()
    online.enabled = bpy.app.online_access
    whole = made is not None and made.complete and not made.outdated
    verb = "Reinstall" if whole else ("Update" if made is not None and made.complete else "Install")
    if not bpy.app.online_access:
        paragraphs(layout, OFFLINE, context, icon="INFO")
        layout.operator("extensions.userpref_allow_online", text="Allow Online Access")
    online.operator("facelift.install_runtime", text=f"{verb} PyTorch…", icon="IMPORT")
    row.operator("facelift.install_runtime_from_folder", icon="FILE_FOLDER")
    if made is None:
        return
    row = column.row()
    online = row.row()
    online.enabled = bpy.app.online_access
    online.operator("facelift.repair_runtime", icon="TOOL_SETTINGS")
    row.operator("facelift.remove_runtime", icon="TRASH")
    row.operator("wm.path_open", text="Log", icon="TEXT").filepath = str(folder / LOG)
    for note in made.notes:
        paragraphs(layout, note, context, icon="INFO")


def _chosen(path: str) -> str:
    return bpy.path.abspath(path.strip()) if path.strip() else ""


CLASSES = (
    FACELIFT_OT_install_runtime,
    FACELIFT_OT_install_runtime_from_folder,
    FACELIFT_OT_repair_runtime,
    FACELIFT_OT_remove_runtime,
)
