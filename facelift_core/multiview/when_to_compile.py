"""Decide when compiling the networks saves time, do it then, and remember on disk whether it worked."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .. import bounded_json
from ..compute import fused
from ..compute.device import LARGE
from ..errors import FaceLiftError
from ..files import private_folder, replacing
from ..presets import Sampling
from ..progress import Monitor
from ..user_dirs import kernels_folder
from .compiling import compiled_variants

if TYPE_CHECKING:
    from .diffusion import MultiViewDiffusion

logger = logging.getLogger(__name__)

MESSAGE = "Optimizing for your graphics card (once)"
SAVED = 0.3
"""Share of the time of the views that compiling saves: a step took 28 ms instead of 44 on an H200."""
FIRST_SECONDS, AGAIN_SECONDS = 80.0, 20.0
"""Seconds that compiling takes the first time on a machine (on the same GPU), and with cached kernels (a guess)."""
FILE, FILE_BYTES, ENTRIES_MAX = "networks.json", 1 << 16, 50


@dataclass
class Experience:
    """Seconds that the views of the heads made so far took without compiling, by sampling settings."""

    seconds: dict[Sampling, list[float]] = field(default_factory=dict)

    def add(self, how: Sampling, seconds: float) -> None:
        self.seconds.setdefault(how, []).append(seconds)


def pays(past: list[float], to_come: int | None, first: bool) -> bool:
    """Return whether compiling saves more time than it takes.

    Args:
        past: seconds of the views of the heads made so far.
        to_come: number of heads to come; None if unknown. Then as many as were made are expected.
        first: whether nothing has been compiled on this machine.
    """
    expected = len(past) if to_come is None else to_come
    return bool(past) and SAVED * min(past) * expected >= (FIRST_SECONDS if first else AGAIN_SECONDS)


def compile_if_it_pays(
    model: MultiViewDiffusion,
    how: Sampling,
    guidance_scale: float | None,
    to_come: int | None,
    monitor: Monitor,
    backend: str = "inductor",
) -> None:
    """Compile `model` for runs with these settings if that saves time. If it fails, the model runs as before."""
    compiled = model.variants(how, guidance_scale) <= compiled_variants(model.unet)
    if compiled or not possible(model) or model.offload.in_use:
        return
    found = _read().get(key_of(model))
    if found or not pays(model.experience.seconds.get(how, []), to_come, first=found is None):
        return
    monitor(0.0, MESSAGE)
    problem = model.compile(how, guidance_scale, backend)
    monitor.check()
    if problem:
        logger.warning("Compiling does not work here (%s); continuing without it.", problem)
    _remember(key_of(model), problem or "")


def learn(model: MultiViewDiffusion, how: Sampling, guidance_scale: float | None, seconds: float) -> None:
    """Remember how long the views of a head took, unless they were drawn by a compiled network."""
    if not model.variants(how, guidance_scale) <= compiled_variants(model.unet):
        model.experience.add(how, seconds)


def possible(model: MultiViewDiffusion) -> bool:
    """Return whether to consider compiling: large networks that stay on a CUDA device where Triton works."""
    large = sum(weight.numel() for weight in model.unet.parameters()) >= LARGE
    on_card = model.device.type == "cuda" and model.dtype in fused.HALF
    return large and on_card and not model.offload.plan.offload and fused.problem() is None


def key_of(model: MultiViewDiffusion) -> str:
    weights = sum(weight.numel() for weight in model.unet.parameters())
    return f"{_machine(model.device)}, {weights} weights"


def state(device: torch.device) -> str:
    """Return for the system information what came of compiling on `device`."""
    found = {key: problem for key, problem in _read().items() if key.startswith(_machine(device))}
    if not found:
        return "not yet"
    problem = list(found.values())[-1]
    return f"does not work here ({problem})" if problem else "works"


def _machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"PyTorch {torch.__version__}, {name}"


def _path() -> Path:
    return kernels_folder() / FILE


def _read() -> dict[str, str]:
    """Return what is known by key: "" where compiling worked, or the problem. Empty if the file cannot be used."""
    try:
        found = bounded_json.read(_path(), FILE_BYTES)
    except (OSError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {key: problem for key, problem in entries if isinstance(problem, str)}


def _remember(key: str, problem: str) -> None:
    known = _read()
    known.pop(key, None)
    known[key] = problem[:200]
    with suppress(OSError, FaceLiftError):
        private_folder(_path().parent)
        with replacing(_path()) as temporary:
            temporary.write_text(json.dumps(dict(list(known.items())[-ENTRIES_MAX:])), encoding="utf-8")
