"""What is missing before a run, or before a render, each with the button that fixes it."""

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
from ..setup import preferences, runtime_state

DISK_BYTES = 300 * 2**20
MEMORY_BYTES = 2 * 2**30
"""What a run needs beside the weights themselves."""


@dataclass(frozen=True)
class Missing:
    """One line of the panel.

    Attributes:
        text: what is missing.
        operator: what fixes it; empty if that is outside Blender, then the text says what to do.
        label: of its button.
        properties: of the operator.
        stops: nothing can run before it is fixed.
    """

    text: str
    operator: str = ""
    label: str = ""
    properties: dict[str, Any] = field(default_factory=dict)
    stops: bool = True


def before_running(context) -> list[Missing]:
    return [*_runtime(context), *_weights(context), *_disk(), *_memory(context)]


def before_rendering(context) -> list[Missing]:
    """For scenes that show splats."""
    from ..splats.scene_settings import missing_settings

    missing = []
    if context.scene.camera is None:
        missing.append(Missing("The scene has no camera.", "facelift.add_camera", "Add Camera", stops=False))
    if settings := missing_settings(context.scene):
        text = f"Render settings: {'; '.join(map(str, settings))}."
        missing.append(Missing(text, "facelift.apply_render_settings", "Set for Splats", stops=False))
    return missing


def _runtime(context) -> Iterator[Missing]:
    if jobs.active("runtime"):
        return  # the panel shows its bar
    own = preferences.get(context)
    state = runtime_state.current(own)
    install = ("facelift.install_runtime", "Update Runtime…" if state.outdated else "Install Runtime…")
    if state.outdated and state.ready:
        yield Missing("The runtime was made for another version of FaceLift.", *install, stops=False)
    if state.ready:
        return
    for problem in state.problems:
        if runtime_state.is_chosen(own):
            yield Missing(problem, "facelift.choose_runtime", "Choose Python…")
        else:
            yield Missing(problem, *install)
    if not bpy.app.online_access and not runtime_state.is_chosen(own):
        text = "Installing needs Blender's online access, which is off."
        yield Missing(text, "extensions.userpref_allow_online", "Allow Online Access", stops=False)
    text = "A Python of your own that has PyTorch will do as well."
    yield Missing(text, "facelift.choose_runtime", "Choose Python…", stops=False)


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
        yield Missing("This FaceLift comes without weights.", "facelift.choose_weights", "Choose Folder…")
    elif built_in.is_dir():
        yield Missing(f"There are no FaceLift weights in {chosen}.", "facelift.use_mini", "Use Built-in Weights")
    else:
        yield Missing(f"There are no FaceLift weights in {chosen}.", "facelift.choose_weights", "Choose Folder…")


def _released_weights(context, built_in: Path) -> Iterator[Missing]:
    if jobs.active("weights"):
        yield Missing("The released weights are on their way.")
    else:
        text = "The released weights are not ready on this machine, or their licence is not accepted."
        yield Missing(text, "facelift.get_weights", "Get Released Weights…")
    if built_in.is_dir():
        text = "The small built-in weights will do to try things out."
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
        text = f"Only {free / 2**20:.0f} MiB are free for {folders.cache_folder()}."
        yield Missing(text, "facelift.clear_cache", "Clear Cache")


def _memory(context) -> Iterator[Missing]:
    if jobs.holds_models or jobs.active("reconstruct"):
        return  # the models are in memory already
    try:
        available = memory().get("available")
    except OSError:
        return
    chosen = preferences.weights(context, context.scene.facelift.weights)
    needed = MEMORY_BYTES + (0 if chosen == "mini" else _bytes(Path(chosen)))
    if available is not None and available < needed:
        text = f"{available / 2**30:.1f} GiB of memory are free, about {needed / 2**30:.1f} are needed."
        if chosen != "mini" and preferences.built_in_weights().is_dir():
            yield Missing(text, "facelift.use_mini", "Use Built-in Weights", stops=False)
        else:
            yield Missing(f"{text} Close other programs.", stops=False)


_bytes_of: dict[Path, int] = {}


def _bytes(folder: Path) -> int:
    """Of the weight files in `folder`; counted once, for it is asked at every drawing."""
    if folder not in _bytes_of:
        files = [*folder.glob("mvdiffusion/pipeckpts/*/*.safetensors"), *folder.glob("gslrm/*")]
        _bytes_of[folder] = sum(path.stat().st_size for path in files)
    return _bytes_of[folder]


def shows_splats(scene: bpy.types.Scene) -> bool:
    from ..splats.objects import splat_objects

    return bool(splat_objects(scene.objects))
