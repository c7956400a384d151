"""Reconstruct the heads of several photos, so that no device waits for another.

While the networks draw the views of one photo, a thread aligns the next and another writes the files of the last. On a
GPU with enough memory, the views of two heads are drawn in one batch.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from ..align import AlignedPortrait, NoFace, align_portrait
from ..drawing import draw_together, heads_at_once
from ..errors import FaceLiftError
from ..images import write_contact_sheet
from ..pipeline import FaceLift
from ..progress import ProgressCallback
from ..result import Result
from .console import duration, progress_bar, say, unexpected
from .prefetch import prefetch
from .reconstruct import PhotoTask
from .saving import Saver

Coming = tuple[PhotoTask, "Future[AlignedPortrait]"]


def reconstruct_all(tasks: Sequence[PhotoTask], options: argparse.Namespace) -> int:
    """Run `tasks` and return the number of failures. A photo that fails does not affect the others."""
    say(f"Loading the weights “{options.weights}”")
    model = FaceLift.from_pretrained(options.weights, device=options.device)
    say(f"Running on {model.device}")
    if model.device.type == "cpu":
        seconds = model.estimate(options.preset, options.steps, options.guidance, options.likeness)
        say(f"This will take about {duration(seconds)} per photo.")
    at_once = heads_at_once(model)

    def align(task: PhotoTask) -> AlignedPortrait:
        largest = options.likeness == "off"  # as published
        return align_portrait(task.photo, crop=not options.no_crop, matting=options.matting, largest_face=largest)

    with Saver() as saver:
        batch = _Batch(model, options, saver, len(tasks))
        for group in _groups(prefetch(tasks, align, at_once), at_once):
            batch.run(group)
    return batch.failed


@dataclass
class _Batch:
    """The photos of one command.

    Attributes:
        left: number of photos that have not been finished.
        failed: number of those that failed.
    """

    model: FaceLift
    options: argparse.Namespace
    saver: Saver
    left: int
    failed: int = 0

    def run(self, group: list[Coming]) -> None:
        start = time.perf_counter()
        views = self._drawn_together(group) if len(group) > 1 else [None]
        for (task, aligned), own in zip(group, views, strict=True):
            try:
                result = self._reconstruct(task, aligned, own)
            except Exception as error:  # the other photos shall not suffer
                self._fail(task, error)
            else:
                self._save(task, result, start)
            self.left -= 1
            start = time.perf_counter()

    def _drawn_together(self, group: list[Coming]) -> list[Tensor | None]:
        """Return the views of each photo; None for photos that failed, or that have to be drawn one by one."""
        ready = [n for n, (_, aligned) in enumerate(group) if aligned.exception() is None]
        views: list[Tensor | None] = [None] * len(group)
        if len(ready) < 2:
            return views
        with progress_bar(", ".join(group[n][0].photo.name for n in ready)) as progress:
            try:
                portraits = [group[n][1].result() for n in ready]
                drawn = draw_together(self.model, portraits, *self._settings(), progress=progress)
            except Exception:  # such as too little memory; one by one, each photo reports its own error
                return views
        for n, own in zip(ready, drawn, strict=True):
            views[n] = own
        return views

    def _settings(self) -> tuple[str, int | None, float | None, int, str]:
        options = self.options
        return options.preset, options.steps, options.guidance, options.seed, options.likeness

    def _reconstruct(self, task: PhotoTask, aligned: Future[AlignedPortrait], views: Tensor | None) -> Result:
        preset, steps, guidance, seed, likeness = self._settings()
        with progress_bar(task.photo.name) as progress:
            progress("align", 0.0, "Aligning the portrait")
            portrait = aligned.result()
            if views is not None:
                return self.model.reconstruct_from_views(
                    views, progress, None, portrait, likeness, preset, keep_raw=self.options.raw
                )
            return self.model.reconstruct(
                portrait,
                preset=preset,
                steps=steps,
                guidance_scale=guidance,
                seed=seed,
                likeness=likeness,
                progress=progress,
                keep_raw=self.options.raw,
                heads_to_come=self.left,
            )

    def _save(self, task: PhotoTask, result: Result, start: float) -> None:
        """Write the files of `task`, beside the next photo if there is one."""

        def write(progress: ProgressCallback) -> None:
            result.gaussians.save(task.head)
            if task.raw:
                result.raw_gaussians.save(task.raw)
            if task.views:
                write_contact_sheet(result.views, task.views)
            if task.turntable:
                from ..rendering.turntable import write_turntable

                write_turntable(result.gaussians.to(self.model.device), task.turntable, progress=progress)

        def done(error: Exception | None) -> None:
            if error is not None:
                self._fail(task, error)
                return
            for note in result.notes:
                say(f"{task.photo}: {note}")
            stages = ", ".join(f"{stage} {spent:.1f}" for stage, spent in result.timings.items())
            seconds = time.perf_counter() - start
            print(f"{task.head}: {len(result.gaussians):,} Gaussians in {seconds:.1f} s ({stages})", flush=True)

        # A turntable on a CPU would only take the cores of the next photo.
        if self.left > 1 and not (task.turntable and self.model.device.type == "cpu"):
            self.saver.save(lambda check: write(lambda *_: check()), done)
            return
        self.saver.finish()
        with progress_bar(task.turntable.name) if task.turntable else nullcontext(_silent) as progress:
            try:
                write(progress)
                error = None
            except Exception as found:
                error = found
        done(error)

    def _fail(self, task: PhotoTask, error: Exception) -> None:
        self.failed += 1
        if isinstance(error, FaceLiftError):
            say(f"{task.photo}: {error}" + (" (--no-crop)" if isinstance(error, NoFace) else ""))
        else:
            say(f"{task.photo}: {unexpected(error)}")


def _silent(stage: str, fraction: float, message: str) -> None:
    pass


def _groups(items: Iterable[Coming], size: int) -> Iterator[list[Coming]]:
    """Split `items` into lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
