"""The buttons that install, repair and remove the runtime; the work itself is :mod:`facelift_core.environment`."""

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
from ..jobs.job import DONE, FAILED, Job, WorkerSettings
from ..jobs.timer import jobs
from ..layout import paragraphs
from ..operator_errors import Chooser, Confirmed, attempt
from . import preferences, runtime_state

KIND = "runtime"
WIDTH = 520
OFFLINE = (
    "Blender's online access is off: switch on Preferences > System > Network > Allow Online Access, or install from a "
    "folder of wheels."
)


_SYSTEM = "linux" if sys.platform.startswith("linux") else sys.platform
BUILDS = (
    ("auto", "What Fits This Machine", "Chosen by the graphics card and its driver"),
    *((build.name, build.label, "") for build in TORCH_BUILDS.get(_SYSTEM, ())),
)


def start(request: Request, title: str) -> Job:
    """Install, repair or remove the runtime; once that is done, an installed one is in use.

    Raises:
        FaceLiftError: it would download and Blender's online access is off, this machine or folder will not do, or a
            reconstruction is running; without a window also whatever the installation raises.
    """
    if request.do != "remove":
        if not request.wheels and not bpy.app.online_access:
            raise FaceLiftError(OFFLINE)
        request.plan()
    timer.end_worker()
    # Blender's own Python runs this worker: it needs none of what is about to be installed.
    worker = WorkerSettings(Path(sys.executable), offline=None)
    return timer.run_alone(Job(KIND, title, request, worker, _heard))


def _heard(job: Job, _: Event) -> None:
    """Use the runtime that was installed, where the preferences named another Python before."""
    if not job.over:
        return
    own = preferences.get()
    if job.state == DONE and job.request.do != "remove":
        own.runtime_python = ""
    runtime_state.forget()
    runtime_state.check_soon(own)
    timer.follow()


class FACELIFT_OT_install_runtime(bpy.types.Operator):
    """Install PyTorch and what else FaceLift computes with into a folder of its own. Asks before it downloads"""

    bl_idname = "facelift.install_runtime"
    bl_label = "Install Runtime"
    bl_options = {"INTERNAL"}

    folder: StringProperty(
        name="Folder",
        description="Where to; empty: the user's data folder, shared by all Blender versions",
        subtype="DIR_PATH",
    )
    python: StringProperty(
        name="Python",
        description="What makes the environment, a Python 3.11 to 3.13; empty: Blender's own, else one of the system's",
        subtype="FILE_PATH",
    )
    build: EnumProperty(name="PyTorch For", items=BUILDS, default="auto")
    index_url: StringProperty(
        name="Index", description="Package index in place of PyPI and PyTorch's own; empty: as pip is configured"
    )
    proxy: StringProperty(name="Proxy", description="As http://name:password@host:port; empty: as the system says")
    consent: BoolProperty(
        name="Download",
        description="Agree to the download; the dialog asks, scripts say it here",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    def invoke(self, context, event):
        if not bpy.app.online_access:
            self.report({"ERROR"}, OFFLINE)
            return {"CANCELLED"}
        self._planned = None
        self.consent = True  # what OK in the dialog means
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
            layout.label(text="Change that first.", icon="INFO")

    def execute(self, context):
        def work() -> None:
            if not self.consent:
                raise FaceLiftError("Nothing was installed: this downloads gigabytes, so consent has to be given.")
            start(self._request(), "Installing the runtime")

        return attempt(self, work)

    def _request(self) -> Request:
        index_url, proxy = self.index_url.strip(), self.proxy.strip()
        return Request("install", _chosen(self.folder), _chosen(self.python), self.build, index_url, proxy)

    def _text(self) -> tuple[str, bool]:
        """What would be done, looked up again only after a change: the dialog is drawn with every move."""
        key = (self.folder, self.python, self.build)
        if self._planned is None or self._planned[0] != key:
            try:
                plan = self._request().plan()
                enough = plan.free >= plan.needed
                text = plan.text if enough else f"{plan.text} That is not enough."
                self._planned = (key, f"{text} {plan.note}".strip(), enough)
            except FaceLiftError as error:
                self._planned = (key, str(error), False)
        return self._planned[1], self._planned[2]


class FACELIFT_OT_install_runtime_from_folder(Chooser, bpy.types.Operator):
    """Install the runtime without internet, from a folder of wheels; says which ones are missing"""

    bl_idname = "facelift.install_runtime_from_folder"
    bl_label = "Install from Folder…"
    bl_options = {"INTERNAL"}

    directory: StringProperty(subtype="DIR_PATH")
    folder: StringProperty(name="Folder", description="Where to; empty: the user's data folder", subtype="DIR_PATH")
    filter_folder: BoolProperty(default=True, options={"HIDDEN"})

    def execute(self, context):
        def work() -> None:
            wheels = str(Path(bpy.path.abspath(self.directory)).absolute())
            start(Request("install", _chosen(self.folder), wheels=wheels), "Installing the runtime")

        return attempt(self, work)


class FACELIFT_OT_repair_runtime(Confirmed, bpy.types.Operator):
    """Compare every file of the runtime with what was installed, and install again what is damaged or lost"""

    bl_idname = "facelift.repair_runtime"
    bl_label = "Repair"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> None:
            made = location.read(location.chosen_folder())
            if made is None:
                raise FaceLiftError("There is no installed runtime to repair; install one.")
            start(Request("repair", build=made.build or "auto"), "Repairing the runtime")

        return attempt(self, work)


class FACELIFT_OT_remove_runtime(Confirmed, bpy.types.Operator):
    """Remove the runtime that was installed, and nothing else"""

    bl_idname = "facelift.remove_runtime"
    bl_label = "Remove"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> str | None:
            if location.read(location.chosen_folder()) is None:
                raise FaceLiftError("There is no installed runtime to remove.")
            return start(Request("remove"), "Removing the runtime").result.get("message")

        return attempt(self, work)


def draw(layout, context) -> None:
    """The runtime's buttons in the preferences."""
    draw_job(layout, KIND, context)
    folder = location.chosen_folder()
    made = location.read(folder)
    column = layout.column()
    column.enabled = not jobs.active(KIND)
    row = column.row()
    whole = made is not None and made.complete and not made.outdated
    verb = "Install Another" if whole else ("Update" if made is not None and made.complete else "Install")
    row.operator("facelift.install_runtime", text=f"{verb} Runtime…", icon="IMPORT")
    row.operator("facelift.install_runtime_from_folder", icon="FILE_FOLDER")
    if made is None:
        return
    row = column.row()
    row.operator("facelift.repair_runtime", icon="TOOL_SETTINGS")
    row.operator("facelift.remove_runtime", icon="TRASH")
    row.operator("wm.path_open", text="Log", icon="TEXT").filepath = str(folder / LOG)
    for note in made.notes:
        paragraphs(layout, note, context, icon="INFO")


def draw_job(layout, kind: str, context) -> None:
    """The job of `kind` while it runs; why it failed afterwards."""
    job = jobs.latest(kind)
    if job is not None and not job.over:
        bar.draw(layout, job, context)
    elif job is not None and job.state == FAILED:
        bar.draw_error(layout, job, context)


def _chosen(path: str) -> str:
    return bpy.path.abspath(path.strip()) if path.strip() else ""


CLASSES = (
    FACELIFT_OT_install_runtime,
    FACELIFT_OT_install_runtime_from_folder,
    FACELIFT_OT_repair_runtime,
    FACELIFT_OT_remove_runtime,
)
