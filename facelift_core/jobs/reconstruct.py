"""Job: reconstruct a head from a photo and write its files to a folder.

Importing this module does not import PyTorch.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import Cancelled, FaceLiftError
from ..files import private_folder, replacing
from ..likeness import check
from ..processes.protocol import CutOut, Emit, Progress, Views
from ..progress import Cancel
from . import durations
from .cutout import Portraits, write_preview
from .run_clock import RunClock

if TYPE_CHECKING:
    from torch import Tensor

    from ..align import AlignedPortrait
    from ..pipeline import FaceLift

PORTRAIT, CUTOUT, PREVIEW = "portrait.png", "cutout.png", "cutout_preview.png"
VIEWS, HEAD, RESULT = "views.png", "head.ply", "result.json"
"""Files in the folder of a finished job. RESULT is written last; if it exists, the others are complete."""

LOADING = Progress("load", 0.0, "Loading the models")


@dataclass(frozen=True)
class Request:
    """Request for a reconstruction; the settings are those of :meth:`facelift_core.pipeline.FaceLift.reconstruct`.

    Attributes:
        photo: path of the photo.
        folder: folder for the job's files; created if missing.
        weights: "mini", "released" or a folder.
        device: "auto", "cuda", "mps" or "cpu".
        steps: diffusion steps; 0 for the preset's.
        guidance_scale: 0 for the default of the weights.
        likeness: "off", "photo" or "refined".
        cutout: path of an edited cut-out to use; empty to make one from the photo.
    """

    photo: str
    folder: str
    weights: str = "mini"
    device: str = "auto"
    preset: str = "quality"
    steps: int = 0
    guidance_scale: float = 0.0
    seed: int = 4
    crop: bool = True
    matting: str = "auto"
    likeness: str = "photo"
    cutout: str = ""

    def __post_init__(self) -> None:
        check(self.likeness)


@dataclass
class Models:
    """Cache of the last job's models and portrait."""

    key: tuple[str, str] | None = None
    model: FaceLift | None = None
    portraits: Portraits = field(default_factory=Portraits)

    def get(self, weights: str, device: str) -> FaceLift:
        """Return the cached model, or load it.

        Raises:
            FaceLiftError: as :meth:`facelift_core.pipeline.FaceLift.from_pretrained`.
        """
        if self.key != (weights, device) or self.model is None:
            self.release()
            from ..pipeline import FaceLift

            self.model, self.key = FaceLift.from_pretrained(weights, device), (weights, device)
        return self.model

    def release(self) -> None:
        """Unload the models and free their memory."""
        if self.model is not None:
            self.model = self.key = None
            from ..compute.device import release_memory

            release_memory()


def run(request: Request, emit: Emit, cancelled: Cancel, models: Models) -> dict[str, Any]:
    """Reconstruct a head and write the job's files.

    Returns:
        The content of :data:`RESULT`.

    Raises:
        FaceLiftError: as :meth:`facelift_core.pipeline.FaceLift.reconstruct`, or the folder cannot be written to.
        Cancelled: `cancelled` returned true.
    """
    folder = Path(request.folder)
    try:
        private_folder(folder)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {folder}: {error.strerror}.") from None
    if not Path(request.photo).is_file():
        raise FaceLiftError(f"The photo {request.photo} no longer exists; choose another one.")
    start = time.perf_counter()
    emit(LOADING)
    if cancelled():
        raise Cancelled
    at_first = models.key != (request.weights, request.device)
    model = models.get(request.weights, request.device)
    from ..images import write_contact_sheet, write_picture

    def show(views: Tensor) -> None:
        write_contact_sheet(views, folder / VIEWS, columns=3)
        emit(Views(str(folder / VIEWS)))

    loaded = time.perf_counter() - start
    steps, guidance_scale = request.steps or None, request.guidance_scale or None
    usual = model.stage_seconds(
        model.sampling_here(request.preset, steps, request.likeness), guidance_scale, request.likeness
    )
    past = durations.runs(request)
    known = bool(past) and set(usual) <= set(past[-1])
    clock = RunClock(usual, {stage: past[-1][stage] for stage in usual} if known else None)

    def tell(stage: str, fraction: float, message: str) -> None:
        fraction, left = clock.look(stage, fraction, time.perf_counter())
        emit(Progress(stage, fraction, message, left))

    tell("align", 0.0, "Aligning the portrait")
    if cancelled():
        raise Cancelled
    begun = time.perf_counter()
    portrait = _portrait(request, models.portraits)
    write_picture(portrait.cutout, folder / CUTOUT)
    write_preview(portrait, folder / PREVIEW)
    emit(CutOut(str(folder / CUTOUT), str(folder / PREVIEW), portrait.notes))
    aligned = time.perf_counter() - begun
    result = model.reconstruct(
        portrait,
        preset=request.preset,
        steps=steps,
        guidance_scale=guidance_scale,
        seed=request.seed,
        likeness=request.likeness,
        progress=tell,
        cancelled=cancelled,
        views_done=show,
        keep_raw=False,
    )
    write_picture(result.portrait, folder / PORTRAIT)
    result.gaussians.save(folder / HEAD)
    timings = {"load": loaded, **result.timings, "align": aligned}
    if result.likeness == request.likeness:
        durations.remember(request, timings, at_first)
    summary = {
        "photo": request.photo,
        "request": asdict(request),
        "version": __version__,
        "device": str(model.device),
        "precision": str(model.multiview.dtype).removeprefix("torch."),
        "memory": model.offload.plan.name,
        "gaussians": len(result.gaussians),
        "timings": timings,
        "seconds": time.perf_counter() - start,
        "likeness": result.likeness,
        "notes": list(result.notes),
    }
    with replacing(folder / RESULT) as temporary:
        temporary.write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return summary


def _portrait(request: Request, portraits: Portraits) -> AlignedPortrait:
    """Return the portrait to reconstruct. Raises FaceLiftError if the photo or the edited cut-out cannot be used."""
    if not request.cutout:
        return portraits.get(request.photo, request.crop, request.matting, request.likeness == "off")
    from ..align import align_cutout

    return align_cutout(request.cutout)
