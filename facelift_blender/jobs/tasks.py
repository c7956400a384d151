"""Long works of this Blender beside reconstructions: kept, followed by a timer, shown in panels, ended at quit.

Only the main thread runs what is in here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import bpy
from bpy.props import StringProperty
from facelift_core import Cancelled, FaceLiftError

from ..layout import duration, paragraphs
from ..reconstruct import session
from .runner import CANCELLED, FAILED, TICK
from .task import Task, Work

LINES_SHOWN = 3
DRAW_SECONDS = 0.25

_tasks: dict[str, Task] = {}
_ends: dict[str, Callable[[Task], None]] = {}
_drawn = 0.0


def current(kind: str) -> Task | None:
    """The task of that kind, running or the last that ended."""
    return _tasks.get(kind)


def running(kind: str) -> bool:
    task = _tasks.get(kind)
    return task is not None and not task.over


def start(kind: str, title: str, work: Work, at_end: Callable[[Task], None] | None = None) -> Task:
    """Begin `work` in a thread; in Blender without a window this waits for its end.

    Args:
        kind: there is one task of a kind at a time, such as "runtime".
        title: for people.
        work: see :mod:`.job.task`.
        at_end: called on the main thread once the task is over, however it ended.

    Raises:
        FaceLiftError: one of this kind is running, or, without a window, it failed.
        Cancelled: without a window: by Ctrl C.
    """
    if running(kind):
        raise FaceLiftError(f"“{_tasks[kind].title}” is running already; wait for its end or cancel it.")
    task = _tasks[kind] = Task(title, work)
    if at_end is not None:
        _ends[kind] = at_end
    task.start()
    if session.background():
        _wait(kind, task)
    elif not bpy.app.timers.is_registered(_pump):
        bpy.app.timers.register(_pump, first_interval=TICK, persistent=True)
    return task


def draw(layout, kind: str, context) -> None:
    """The bar, the last lines and *Cancel* while a task runs; its error afterwards."""
    task = current(kind)
    if task is None or (task.over and task.state != FAILED):
        return
    box = layout.box()
    if task.over:
        box.alert = True
        paragraphs(box, f"{task.title}: {task.error}", context, icon="ERROR")
        return
    row = box.row(align=True)
    row.label(text=task.title, icon="IMPORT")
    button = row.row(align=True)
    button.enabled = not task.cancelling
    button.operator("facelift.cancel_task", text="Cancel", icon="X").kind = kind
    text = "Cancelling" if task.cancelling else f"{100 * task.fraction:.0f} %"
    box.progress(factor=task.fraction, type="BAR", text=text)
    paragraphs(box, task.message, context)
    spent = f"{duration(time.monotonic() - task.started)} so far"
    box.label(text=spent + (f", about {duration(task.left)} left" if task.left is not None else ""))
    for line in list(task.lines)[-LINES_SHOWN:]:
        row = box.row()
        row.active = False
        row.scale_y = 0.7
        row.label(text=line.strip())


class FACELIFT_OT_cancel_task(bpy.types.Operator):
    """Stop this; what has been downloaded is kept and used the next time"""

    bl_idname = "facelift.cancel_task"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}

    kind: StringProperty(options={"HIDDEN"})

    def execute(self, context):
        if running(self.kind):
            _tasks[self.kind].cancel.set()
            session.redraw()
        return {"FINISHED"}


def detach() -> None:
    """End everything, at quit or when the extension is switched off."""
    if bpy.app.timers.is_registered(_pump):
        bpy.app.timers.unregister(_pump)
    for task in _tasks.values():
        task.shutdown()
    _tasks.clear()
    _ends.clear()


def _wait(kind: str, task: Task) -> None:
    while not task.over:
        try:
            time.sleep(TICK / 2)
        except KeyboardInterrupt:
            task.cancel.set()
        task.poll()
    _ended(kind, task)
    if task.state == FAILED:
        raise FaceLiftError(task.error)
    if task.state == CANCELLED:
        raise Cancelled


def _pump() -> float | None:
    global _drawn
    changed = False
    for kind, task in list(_tasks.items()):
        changed = task.poll() or changed
        if task.over and kind in _ends:
            _ended(kind, task)
    busy = any(not task.over for task in _tasks.values())
    now = time.monotonic()
    if not busy or now - _drawn > (DRAW_SECONDS if changed else 1.0):
        _drawn = now
        session.redraw()
    return TICK if busy else None


def _ended(kind: str, task: Task) -> None:
    at_end = _ends.pop(kind, None)
    if at_end is not None:
        at_end(task)


CLASSES = (FACELIFT_OT_cancel_task,)
