"""Common operator behavior: file browser, confirmation, and exceptions shown as reports."""

from __future__ import annotations

from collections.abc import Callable

import bpy
from facelift_core import Cancelled, FaceLiftError


class Chooser:
    """Mixin for operators that open the file browser."""

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


class Confirmed:
    """Mixin for operators that ask for confirmation."""

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)


def attempt(operator: bpy.types.Operator, work: Callable[[], str | None]) -> set[str]:
    """Run `work` and return the operator's result. Reports the message that `work` returns, or its FaceLiftError."""
    try:
        message = work()
    except Cancelled:
        return {"CANCELLED"}
    except FaceLiftError as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    if message:
        operator.report({"INFO"}, message)
    return {"FINISHED"}
