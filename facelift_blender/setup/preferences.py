"""Preferences of the extension: runtime, weights, quality and files."""

from __future__ import annotations

import time
from pathlib import Path

import bpy
import facelift_core
from bpy.props import EnumProperty, IntProperty, StringProperty
from facelift_core.weights import inventory as _inventory
from facelift_core.weights import store as _store

from .. import presets
from ..jobs import folders
from ..jobs.job import WorkerSettings
from ..layout import paragraphs
from . import runtime_state

PACKAGE = __package__.rpartition(".")[0]
"""Module name under which Blender enables the extension."""
BUILT_IN = "Built-in (preview quality)"
CACHE_SECONDS = 5.0


def _runtime_changed(self, context) -> None:
    runtime_state.check_soon(self)


class FaceLiftPreferences(bpy.types.AddonPreferences):
    bl_idname = PACKAGE

    runtime_python: StringProperty(
        name="Python",
        description="Python 3.11 to 3.13 that has PyTorch, diffusers and transformers, or its folder. Leave empty for "
        "what Install PyTorch has installed, or the environment variable FACELIFT_PYTHON if set",
        subtype="FILE_PATH",
        update=_runtime_changed,
    )
    worker_minutes: IntProperty(
        name="Keep Models Loaded (min)",
        description="Minutes that the models stay in memory after the last head. The next head starts sooner while "
        "they are loaded",
        default=10,
        min=0,
        soft_max=120,
    )
    default_weights: EnumProperty(
        name="Weights",
        description="Weights for scenes that do not choose their own",
        items=(
            ("MINI", BUILT_IN, "For trying out FaceLift on any computer; nothing to download"),
            (
                "RELEASED",
                "Released",
                "For final heads: the full-size weights of FaceLift's authors, under their own license",
            ),
            ("FOLDER", "Folder", "For weights that you have trained"),
        ),
        default="MINI",
    )
    weights_folder: StringProperty(
        name="Weights Folder", description="Folder that contains “mvdiffusion” and “gslrm”", subtype="DIR_PATH"
    )
    weights_store: StringProperty(
        name="Download Folder",
        description="Folder for downloaded weights; needs about 13 GB during conversion. Leave empty to use your data "
        "folder, shared by all Blender versions, or the environment variable FACELIFT_WEIGHTS if set",
        subtype="DIR_PATH",
    )
    default_preset: EnumProperty(
        name="Quality",
        description="Quality for new scenes",
        items=presets.ITEMS,
        default=presets.DEFAULT,
    )

    def worker(self) -> WorkerSettings | None:
        """Worker settings for heads and cut-outs; None if there is no runtime."""
        found = runtime_state.find(self)
        if found is None:
            return None
        return WorkerSettings(found.python, offline=True, idle_seconds=self.worker_minutes * 60.0)

    def draw(self, context) -> None:
        layout = self.layout
        layout.use_property_split = True
        box = layout.box()
        box.label(text="PyTorch", icon="SYSTEM")
        box.prop(self, "runtime_python")
        state = runtime_state.current(self)
        paragraphs(box, state.text, context, icon=state.icon)
        for problem in state.problems:
            paragraphs(box, problem, context)
        for note in state.notes:
            paragraphs(box, note, context, icon="INFO")
        from . import runtime_operators, weights_operators

        runtime_operators.draw(box, context)
        row = box.row()
        row.enabled = not state.checking
        row.operator("facelift.choose_runtime", icon="FILE_FOLDER")
        row.operator("facelift.check_runtime", icon="FILE_REFRESH")
        box.prop(self, "worker_minutes")
        box.operator("facelift.release_memory", icon="TRASH")

        box = layout.box()
        box.label(text="Heads", icon="USER")
        box.prop(self, "default_preset")
        box.prop(self, "default_weights")
        if self.default_weights == "FOLDER":
            box.prop(self, "weights_folder")
        box.prop(self, "weights_store")
        weights_operators.draw(box, context)

        box = layout.box()
        box.label(text="Files", icon="FILE_CACHE")
        row = box.row()
        row.label(text=f"{_megabytes(_cache_size())} in {folders.cache_folder()}")
        row.operator("facelift.clear_cache", icon="TRASH")
        layout.operator("facelift.copy_system_information", icon="COPYDOWN")


def get(context=None) -> FaceLiftPreferences:
    """This extension's preferences."""
    return (context or bpy.context).preferences.addons[PACKAGE].preferences


def weights(context, own: str) -> str:
    """The weights to use: the scene's `own`, else those from the preferences.

    Returns:
        "mini", a folder, or "released" while the released weights are not ready.
    """
    found = get(context)
    by_default = {
        "MINI": "mini",
        "RELEASED": "released",
        "FOLDER": found.weights_folder.strip() or "mini",
    }
    chosen = own.strip() or by_default[found.default_weights]
    if chosen == "released":
        released = store(context)
        state = _inventory.status(released)
        return str(released.converted) if state.converted and state.accepted else chosen
    return chosen if chosen == "mini" else bpy.path.abspath(chosen)


def weights_name(context) -> str:
    """Name of the weights that scenes use which do not choose their own."""
    own = get(context)
    names = {"MINI": BUILT_IN, "RELEASED": "Released", "FOLDER": Path(own.weights_folder.strip()).name or BUILT_IN}
    return names[own.default_weights]


def store(context=None):
    """Storage location of the released weights, see :mod:`facelift_core.weights.store`."""
    folder = get(context).weights_store.strip()
    return _store.open_store(bpy.path.abspath(folder) if folder else None)


def built_in_weights() -> Path:
    return Path(facelift_core.__file__).parent / "weights" / "mini"


_measured: tuple[float, int] = (-CACHE_SECONDS, 0)


def _cache_size() -> int:
    """Size of the cache in bytes, updated at most every CACHE_SECONDS, because Blender redraws on every mouse move."""
    global _measured
    now = time.monotonic()
    if now - _measured[0] >= CACHE_SECONDS:
        _measured = now, folders.size()
    return _measured[1]


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


CLASSES = (FaceLiftPreferences,)
