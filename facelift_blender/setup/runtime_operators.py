"""The buttons that install, repair and remove the runtime; the work itself is :mod:`facelift_core.environment`."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from facelift_core import FaceLiftError
from facelift_core.environment import install as _install
from facelift_core.environment import install_plan as _plan
from facelift_core.environment import location as _location
from facelift_core.environment import pip as _pip
from facelift_core.environment import remove as _remove
from facelift_core.environment import torch_build as _builds

from ..jobs import tasks
from ..jobs.runner import DONE
from ..jobs.task import Task
from ..layout import paragraphs
from ..operator_errors import Chooser, Confirmed, attempt
from ..reconstruct import session
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
    *((build.name, build.label, "") for build in _builds.BUILDS.get(_SYSTEM, ())),
)


def start(plan, repair: bool = False) -> Task:
    """Install what `plan` says; once it is done the runtime is in use.

    Raises:
        FaceLiftError: it would download and Blender's online access is off, or a reconstruction is running; without a
            window also whatever the installation raises.
    """
    if plan.sources.wheels is None and not bpy.app.online_access:
        raise FaceLiftError(OFFLINE)
    session.let_go()
    title = "Repairing the runtime" if repair else "Installing the runtime"
    return tasks.start(
        KIND, title, lambda emit, cancelled: _install.install(plan, emit, cancelled, repair), _use_installed
    )


def _use_installed(task: Task) -> None:
    """Have the runtime that was installed found, where the preferences named another Python before."""
    own = preferences.get()
    if task.state == DONE:
        own.runtime_python = ""
        own.in_process = False
    runtime_state.forget()
    runtime_state.check_soon(own)
    if not session.background():
        session.follow()


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
            start(self._plan())

        return attempt(self, work)

    def _plan(self):
        sources = _pip.Sources(self.index_url.strip(), self.proxy.strip())
        return _plan.make_plan(_chosen(self.folder), _chosen(self.python), self.build, sources)

    def _text(self) -> tuple[str, bool]:
        """What would be done, looked up again only after a change: the dialog is drawn with every move."""
        key = (self.folder, self.python, self.build)
        if self._planned is None or self._planned[0] != key:
            try:
                plan = self._plan()
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
            sources = _pip.Sources(wheels=Path(bpy.path.abspath(self.directory)).absolute())
            start(_plan.make_plan(_chosen(self.folder), sources=sources))

        return attempt(self, work)


class FACELIFT_OT_repair_runtime(Confirmed, bpy.types.Operator):
    """Compare every file of the runtime with what was installed, and install again what is damaged or lost"""

    bl_idname = "facelift.repair_runtime"
    bl_label = "Repair"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        def work() -> None:
            made = _location.read(_location.chosen_folder())
            if made is None:
                raise FaceLiftError("There is no installed runtime to repair; install one.")
            start(_plan.make_plan(build=made.build or "auto"), repair=True)

        return attempt(self, work)


class FACELIFT_OT_remove_runtime(Confirmed, bpy.types.Operator):
    """Remove the runtime that was installed, and nothing else"""

    bl_idname = "facelift.remove_runtime"
    bl_label = "Remove"
    bl_options = {"INTERNAL"}

    def execute(self, context):
        folder = _location.chosen_folder()

        def remove(emit, cancelled):
            def tell(name: str) -> None:
                emit({"event": "progress", "stage": "remove", "fraction": 0.5, "message": f"Removing {name}"})

            return _remove.uninstall(folder, tell)

        def work() -> str | None:
            if _location.read(folder) is None:
                raise FaceLiftError("There is no installed runtime to remove.")
            session.let_go()
            task = tasks.start(KIND, "Removing the runtime", remove, _use_installed)
            return f"{folder} was removed." if task.over else None

        return attempt(self, work)


def draw(layout, context) -> None:
    """The runtime's buttons in the preferences."""
    tasks.draw(layout, KIND, context)
    folder = _location.chosen_folder()
    made = _location.read(folder)
    column = layout.column()
    column.enabled = not tasks.running(KIND)
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
    row.operator("wm.path_open", text="Log", icon="TEXT").filepath = str(folder / _remove.LOG)
    for note in made.notes:
        paragraphs(layout, note, context, icon="INFO")


def _chosen(path: str) -> Path | None:
    return Path(bpy.path.abspath(path.strip())) if path.strip() else None


CLASSES = (
    FACELIFT_OT_install_runtime,
    FACELIFT_OT_install_runtime_from_folder,
    FACELIFT_OT_repair_runtime,
    FACELIFT_OT_remove_runtime,
)
