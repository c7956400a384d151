"""Which Python the worker runs in, and whether that one can: the core's answers under the names used here."""

from __future__ import annotations

from .. import core

_check = core.module("runtime.check")
_location = core.module("runtime.location")

Check, MODULES = _check.Check, _check.MODULES
quick_check, thorough_check = _check.quick_check, _check.thorough_check
Runtime, VARIABLE, find_runtime = _location.Found, _location.VARIABLE, _location.find
pins = core.module("runtime.pins").pins
chosen_folder, read = _location.chosen_folder, _location.read
