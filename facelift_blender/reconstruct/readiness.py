"""Requirements for reconstructing and rendering that are not met, each with the operator that fixes it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
from facelift_core.compute.memory import memory

from ..jobs import folders
from ..jobs.timer import jobs
from ..setup import preferences, runtime_state, weights_operators

DISK_BYTES = 300 * 2**20
MEMORY_BYTES = 2 * 2**30
"""Memory that a reconstruction needs in addition to the weights."""


@dataclass(frozen=True)
class Missing:
    """A requirement that is not met, shown in the panel.

    Attributes:
        text: what is missing.
        operator: operator that fixes it; empty if it cannot be fixed in Blender, in which case `text` says what to do.
        label: label of the operator's button.
        properties: properties of the operator.
        stops: whether reconstructing is impossible until it is fixed.
        works: whether the operator can work now; otherwise its button is grayed out, and `text` says why.
    """

    text: str
    operator: str = ""
    label: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    stops: bool = True
    works: bool = True


def before_running(context) -> list[Missing]:
    return [*before_setup(context), *_weights(context), *_disk(), *_memory(context)]


def before_setup(context) -> list[Missing]:
    """What the one-time setup lacks."""
    return list(_runtime(context))


def before_rendering(context) -> list[Missing]:
    """Missing camera and render settings, for scenes that show splats."""
    from ..splats.scene_settings import missing_settings

    missing = []
    if context.scene.camera is None:
        missing.append(Missing("The scene has no camera.", "facelift.add_camera", "Add Camera", stops=False))
    if settings := missing_settings(context.scene):
        text = " ".join(f"{setting.consequence}." for setting in settings)
        missing.append(Missing(text, "facelift.apply_render_settings", "Set Up Scene for Splats", stops=False))
    return missing


def _runtime(context) -> Iterator[Missing]:
    if jobs.active("runtime"):
        return  # the panel shows its bar
    own = preferences.get(context)
    state = runtime_state.current(own)
    install = ("facelift.install_runtime", "Update PyTorch…" if state.outdated else "Install PyTorch…")
    online = bpy.app.online_access
    if state.ready and not state.outdated:
        return
    if not online and not runtime_state.is_chosen(own):
        text = "Blender may not go online, so FaceLift cannot download PyTorch."
        yield Missing(text, "extensions.userpref_allow_online", "Allow Online Access", stops=False)
    if state.ready:
        text = "PyTorch was installed by another version of FaceLift."
        yield Missing(text, *install, stops=False, works=online)
        return
    for problem in state.problems:
        if runtime_state.is_chosen(own):
            yield Missing(problem, "facelift.choose_runtime", runtime_state.USE)
        else:
            yield Missing(problem, *install, works=online)
    if not runtime_state.is_chosen(own):
        text = "If this computer already has PyTorch:"
        yield Missing(text, "facelift.choose_runtime", runtime_state.USE, stops=False)


def _weights(context) -> Iterator[Missing]:
    chosen = preferences.weights(context, context.scene.facelift.weights)
    built_in = preferences.built_in_weights()
    if chosen == "released":
        yield from _released_weights(context, built_in)
        return
    folder = built_in if chosen == "mini" else Path(chosen)
    if (folder / "mvdiffusion" / "pipeckpts").is_dir() and (folder / "gslrm").is_dir():
        return
    if chosen == "mini":
        yield Missing("This copy of FaceLift has no built-in weights.", "facelift.choose_weights", "Choose Weights…")
    elif built_in.is_dir():
        yield Missing(f"There are no FaceLift weights in {chosen}.", "facelift.use_mini", "Use Built-in Weights")
    else:
        yield Missing(f"There are no FaceLift weights in {chosen}.", "facelift.choose_weights", "Choose Weights…")


def _released_weights(context, built_in: Path) -> Iterator[Missing]:
    if jobs.active("weights"):
        yield Missing("Waiting for the released weights.")
    else:
        text = "The released weights have not been downloaded, or their license has not been accepted."
        yield Missing(text, "facelift.get_weights", "Get Released Weights…", works=weights_operators.can_get())
    if built_in.is_dir():
        text = "Or use the built-in weights (preview quality)."
        yield Missing(text, "facelift.use_mini", "Use Built-in Weights", stops=False)


def _disk() -> Iterator[Missing]:
    folder = folders.cache_folder()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    if free < DISK_BYTES:
        text = f"Not enough disk space: only {free / 2**20:.0f} MiB free for {folders.cache_folder()}."
        yield Missing(text, "facelift.clear_cache", "Clear Cache")


def _memory(context) -> Iterator[Missing]:
    if jobs.holds_models or jobs.active("reconstruct"):
        return  # the models are already in memory
    try:
        available = memory().get("available")
    except OSError:
        return
    chosen = preferences.weights(context, context.scene.facelift.weights)
    needed = MEMORY_BYTES + (0 if chosen == "mini" else _bytes(Path(chosen)))
    if available is not None and available < needed:
        text = f"Memory may run out: about {needed / 2**30:.1f} GiB needed, {available / 2**30:.1f} GiB free."
        if chosen != "mini" and preferences.built_in_weights().is_dir():
            yield Missing(text, "facelift.use_mini", "Use Built-in Weights", stops=False)
        else:
            yield Missing(f"{text} Close other programs.", stops=False)


_bytes_of: dict[Path, int] = {}


def _bytes(folder: Path) -> int:
    """Total size in bytes of the weight files in `folder`; cached, because the panel asks on every redraw."""
    if folder not in _bytes_of:
        files = [*folder.glob("mvdiffusion/pipeckpts/*/*.safetensors"), *folder.glob("gslrm/*")]
        _bytes_of[folder] = sum(path.stat().st_size for path in files)
    return _bytes_of[folder]


def shows_splats(scene: bpy.types.Scene) -> bool:
    from ..splats.objects import splat_objects

    return bool(splat_objects(scene.objects))
