"""System information for bug reports, as text."""

from __future__ import annotations

import json
import platform
import sys

import bpy
from facelift_core import __version__
from facelift_core.compute.memory import memory

from ..jobs import folders
from ..jobs.timer import jobs
from . import preferences, runtime_state


def system_information(context) -> str:
    """Versions, machine, runtime and the last error. Leaves out the names of photos."""
    own = preferences.get(context)
    state = runtime_state.current(own)
    found = runtime_state.find(own)
    check = runtime_state.known(found.python) if found else None
    try:
        sizes = ", ".join(f"{k} {v / 2**30:.1f} GiB" for k, v in memory().items())
    except OSError as error:
        sizes = str(error)
    lines = [
        f"FaceLift {__version__}",
        f"Blender {bpy.app.version_string}, Python {platform.python_version()}",
        f"System: {platform.platform()}, {platform.machine()}",
        f"Memory: {sizes}",
        f"Graphics: {_graphics()}",
        f"PyTorch: {state.text}",
        *(f"  Problem: {problem}" for problem in state.problems),
        *(f"  Note: {note}" for note in state.notes),
        f"Weights: {preferences.weights(context, context.scene.facelift.weights)}",
        f"Cache: {folders.cache_folder()}, {folders.size() / 2**20:.1f} MiB",
        f"Arguments: {' '.join(sys.argv[:1])}",
    ]
    if check is not None and check.packages:
        lines.append("Packages: " + ", ".join(f"{name} {__version__}" for name, __version__ in check.packages.items()))
    if check is not None and check.info:
        lines.append("Check: " + json.dumps(check.info, ensure_ascii=False))
    if errors := [job.error for job in jobs.jobs if job.error]:
        lines.append(f"Last error: {errors[-1]}")
    return "\n".join(lines) + "\n"


def _graphics() -> str:
    if bpy.app.background:
        return "not available in background mode"
    import gpu

    return f"{gpu.platform.renderer_get()}, {gpu.platform.version_get()}"
