"""What every button does with the function behind it."""

from __future__ import annotations

from collections.abc import Callable

import bpy
from facelift_core import Cancelled, FaceLiftError


class Chooser:
    """For operators that begin with the file browser."""

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


class Confirmed:
    """For operators that ask whether one is sure."""

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event)


def attempt(operator: bpy.types.Operator, work: Callable[[], str | None]) -> set[str]:
    """Run `work`, tell what it returns, and make a FaceLiftError an error message; the result of `operator`."""
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
