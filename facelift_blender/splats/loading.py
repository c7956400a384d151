"""Imports of large files, which do not block the window: a thread reads, and a timer stores a part at a time.

A file that Blender's Python cannot read goes to the runtime first (:mod:`.conversion`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians import files as formats
from facelift_core.gaussians import transforms

from .. import window
from ..jobs import folders
from ..jobs.job import DONE, FAILED, Job
from . import attributes, conversion, importing, nodes, objects

LARGE = 50_000_000
"""Size in bytes of files that are read in the background; smaller ones take less than half a second."""
SHOWN = 1_000_000
"""Number of Gaussians that the viewport shows of a large import; *In Viewport* in the panel shows more."""
_TICK = 0.05
BUSY = 0.25
"""Seconds for which a tick goes on with the next part."""


@dataclass(eq=False)
class Loading:
    """An import that goes on. Only the main thread touches Blender's data.

    Attributes:
        path: the file.
        arrange: from (N, 3) positions in the file to how the object has them.
        cursor: location of the object; None for the origin, or beside what is in the scene for a head.
        scene, collection: names of where it goes.
        fraction: of the work, in [0, 1].
        message: what is being done.
        error: why it failed; empty otherwise.
        cancel: set to stop it.
    """

    path: Path
    arrange: Callable[[np.ndarray], importing.Arrangement]
    cursor: tuple[float, float, float] | None
    scene: str
    collection: str
    fraction: float = 0.0
    message: str = "Reading"
    error: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)
    _values: dict[str, tuple[str, np.ndarray]] | None = None
    _arranged: importing.Arrangement | None = None
    _needs_runtime: bool = False
    _thread: threading.Thread | None = None

    def read(self, path: Path) -> None:
        """Read the file in a thread."""
        self._thread = threading.Thread(target=self._read, args=(path,), name=f"FaceLift {path.name}", daemon=True)
        self._thread.start()

    def _read(self, path: Path) -> None:
        try:
            splats = formats.read(path, tell=print)
            self.fraction, self.message = 0.5, "Preparing"
            if self.cancel.is_set():
                return
            self._arranged = self.arrange(splats.positions)
            splats = transforms.transform(splats, self._arranged.matrix)
            self.fraction = 0.6
            if not self.cancel.is_set():
                self._values = attributes.values_of(splats)
                self.fraction, self.message = 0.7, "Storing"
        except formats.MissingModule:
            self._needs_runtime = True
        except (FaceLiftError, MemoryError) as error:
            self.error = str(error) or f"There is not enough memory to read {path}."

    def steps(self) -> Iterator[bool]:
        """What the main thread does, a part at a time; ends when the object is there, or the import has failed.

        Yields whether the next part can follow at once; otherwise something is being waited for.
        """
        self.read(self.path)
        yield from self._wait()
        if self._needs_runtime:
            yield from self._convert()
        if self._values is None or self.cancel.is_set():
            return
        count = len(self._values[attributes.POSITION][1])
        key = objects.new_point_cloud(self.path.stem, count).session_uid
        parts = [partial(attributes.create, name=name, kind=kind) for name, (kind, _) in self._values.items()]
        parts += [partial(attributes.set_values, name=name, values=array) for name, (_, array) in self._values.items()]
        for number, part in enumerate([*parts, self._add]):
            yield True
            # Looked up each time, because undo or opening a file may have replaced or removed it.
            cloud = next((other for other in bpy.data.pointclouds if other.session_uid == key), None)
            if cloud is None:
                self.error = f"{self.path.name} was not imported, because another file was opened; import it again."
                return
            if self.cancel.is_set():
                bpy.data.pointclouds.remove(cloud)
                return
            part(cloud)
            self.fraction = 0.7 + 0.3 * number / len(parts)

    def _wait(self) -> Iterator[bool]:
        while self._thread.is_alive():
            yield False

    def _convert(self) -> Iterator[bool]:
        folder = folders.new_folder()
        try:
            folder.mkdir(parents=True)
            target = folder / "import.ply"
            job = conversion.convert(self.path, target, f"Import {self.path.name}")
            yield from self._follow(job)
            if job.state == DONE and not self.cancel.is_set():
                self.read(target)
                yield from self._wait()
        except (FaceLiftError, OSError) as error:
            self.error = str(error)
        finally:
            folders.remove(folder)

    def _follow(self, job: Job) -> Iterator[bool]:
        while not job.over:
            if self.cancel.is_set() and not job.cancelling:
                conversion.timer.jobs.cancel(job)
            self.message, self.fraction = job.message or self.message, 0.4 * job.fraction
            yield False
        if job.state == FAILED:
            self.error = job.error
        elif job.state != DONE:
            self.cancel.set()

    def _add(self, cloud: bpy.types.PointCloud) -> None:
        scene = bpy.data.scenes.get(self.scene) or bpy.context.scene
        collection = bpy.data.collections.get(self.collection) or scene.collection
        item = bpy.data.objects.new(self.path.stem, cloud)
        positions = self._values[attributes.POSITION][1]
        if self.cursor is not None:
            item.location = self.cursor
        elif self._arranged.as_head:
            item.location = importing.free_place(scene, positions)
        for key, value in {"facelift_file": self.path.name, **self._arranged.metadata}.items():
            item[key] = value
        modifier = nodes.add_modifier(item)
        nodes.set_input(modifier, "Viewport Amount", min(100.0, 100.0 * SHOWN / len(cloud.points)))
        collection.objects.link(item)
        cloud.update_tag()
        if bpy.context.mode == "OBJECT" and bpy.context.scene == scene:
            objects.choose(bpy.context, item)
        if self._arranged.as_head:
            importing.frame_head(scene, item)
        if not window.background():
            bpy.ops.ed.undo_push(message="Import Gaussian Splats")


active: list[tuple[Loading, Iterator[bool]]] = []
failed: list[Loading] = []
"""The latest that failed, for the panel."""


def wanted(path: Path) -> bool:
    """Whether to import `path` in the background: it is large, or its format takes the runtime."""
    if window.background() or not path.is_file():
        return False
    return path.stat().st_size > LARGE or path.suffix.lower() in (".sog", ".usda", ".usdc")


def start(
    context: bpy.types.Context, path: Path, *, scale: float, up_axis: str, at_cursor: bool, place: str
) -> Loading:
    """Import `path` in the background; see :func:`.importing.import_splats`."""
    life = objects.head_scale(context.scene)
    arrange = partial(importing.arrange, scale=scale, life=life, up_axis=up_axis, place=place)
    cursor = tuple(context.scene.cursor.location) if at_cursor else None
    loading = Loading(path, arrange, cursor, context.scene.name, context.collection.name)
    failed.clear()
    active.append((loading, loading.steps()))
    if not bpy.app.timers.is_registered(tick):
        bpy.app.timers.register(tick, first_interval=_TICK, persistent=True)
    return loading


def tick() -> float | None:
    """Go on with each import for a moment; returns the seconds until the next, or None when there is nothing left."""
    for loading, steps in list(active):
        end, more = time.monotonic() + BUSY, True
        try:
            while more and (more := next(steps, None)) and time.monotonic() < end:
                pass
        except (FaceLiftError, RuntimeError, MemoryError) as error:
            loading.error, more = str(error) or "There is not enough memory for the import.", None
        if more is None:
            active.remove((loading, steps))
            if loading.error:
                failed.append(loading)
    window.redraw()
    return _TICK if active else None


def detach() -> None:
    """Stop all imports."""
    for loading, _ in active:
        loading.cancel.set()
    active.clear()
    failed.clear()
    if bpy.app.timers.is_registered(tick):
        bpy.app.timers.unregister(tick)


def draw(layout: bpy.types.UILayout) -> None:
    """Draw the progress of the imports, and why the last one failed."""
    for number, (loading, _) in enumerate(active):
        box = layout.box()
        row = box.row(align=True)
        row.label(text=f"Import {loading.path.name}", icon="IMPORT")
        row.operator("facelift.cancel_import", text="Cancel", icon="X").number = number
        box.progress(factor=loading.fraction, text=f"{loading.message}  {100 * loading.fraction:.0f} %")
    for loading in failed:
        box = layout.box()
        box.alert = True
        box.label(text=loading.error, icon="ERROR")
