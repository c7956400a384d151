"""The training loop that the autoencoder, the view diffusion and GS-LRM share.

Randomness is a function of (seed, step) alone and the learning rate of (step, steps), so a run that was interrupted
and resumed takes exactly the steps of one that was not.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import FaceLiftError
from ..files import replacing

WARMUP_STEPS = 100
DECAY_FRACTION = 0.25
GRADIENT_CLIP = 1.0
STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"


@dataclass(frozen=True)
class Task:
    """What to train.

    Attributes:
        model: every parameter that is learned.
        loss: step number and that step's own generator to a scalar loss; may log further figures into the mapping.
        validate: figures of the averaged model on held-out heads, higher or lower being the reader's business.
        picture: what the averaged model makes of a few held-out heads.
    """

    model: nn.Module
    loss: Callable[[int, np.random.Generator, dict[str, float]], Tensor]
    validate: Callable[[nn.Module], Mapping[str, float]]
    picture: Callable[[nn.Module], Image.Image]


@dataclass(frozen=True)
class LoopOptions:
    """How long and how fast; `folder` holds the state, the log and the pictures of the run."""

    folder: Path
    steps: int
    learning_rate: float
    seed: int = 0
    ema_decay: float = 0.998
    validate_every: int = 500
    mixed_precision: bool = True


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up, plateau, then a cosine to zero over the last quarter; a plateau can be prolonged later."""
    decay_start = steps * (1 - DECAY_FRACTION)
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    progress = max(0.0, (step - decay_start) / max(1.0, steps - decay_start))
    return peak * warm * 0.5 * (1 + math.cos(math.pi * progress))


def train(task: Task, options: LoopOptions) -> nn.Module:
    """Train to `options.steps`, resuming what the folder holds; returns the averaged (EMA) model.

    Raises:
        FaceLiftError: the folder belongs to another model, or the loss is no longer finite.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    averaged = copy.deepcopy(task.model).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        task.model.parameters(), lr=options.learning_rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    step = _resume(task.model, averaged, optimizer, options.folder)
    device = next(task.model.parameters()).device
    bar = tqdm(initial=step, total=options.steps, desc=options.folder.name, smoothing=0.02, disable=None)
    figures: dict[str, float] = {}
    started = time.monotonic()
    while step < options.steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.learning_rate)
        random = np.random.default_rng((options.seed, step))
        torch.manual_seed(int(random.integers(2**62)))
        logged: dict[str, float] = {}
        with torch.autocast(device.type, torch.bfloat16, enabled=options.mixed_precision):
            loss = task.loss(step, random, logged)
        if not torch.isfinite(loss):
            raise FaceLiftError(f"The loss is {loss.item()} at step {step}; lower --learning-rate and start again.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(task.model.parameters(), GRADIENT_CLIP)
        optimizer.step()
        step += 1
        _average(averaged, task.model, min(options.ema_decay, step / (step + 10)))
        for name, value in {"loss": loss.item(), **logged}.items():
            figures[name] = 0.98 * figures.get(name, value) + 0.02 * value
        bar.update()
        bar.set_postfix_str(" ".join(f"{name} {value:.4f}" for name, value in figures.items()), refresh=False)
        if step % options.validate_every == 0 or step == options.steps:
            averaged.eval()
            with torch.no_grad():
                validation = dict(task.validate(averaged))
                picture = task.picture(averaged)
            record = {"step": step, "seconds": round(time.monotonic() - started, 1), **figures, **validation}
            tqdm.write(" ".join(f"{k} {v:.4g}" for k, v in record.items()))
            _save(task.model, averaged, optimizer, step, options.folder, record, picture)
    bar.close()
    return averaged.eval()


def load_averaged(model: nn.Module, folder: Path) -> nn.Module:
    """`model` with the averaged weights of the run in `folder`, frozen, in evaluation mode."""
    path = folder / STATE_FILE
    if not path.exists():
        raise FaceLiftError(f"{folder} holds no training run; train it first or name another folder.")
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu")["averaged"])
    return model.requires_grad_(False).eval()


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    ours, theirs = list(averaged.parameters()), list(model.parameters())
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for mine, other in zip(averaged.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


def _resume(model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    path = folder / STATE_FILE
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True, map_location="cpu")
    try:
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, KeyError, ValueError) as error:
        raise FaceLiftError(f"{folder} holds the run of another model; choose another folder. ({error})") from None
    return state["step"]


def _save(
    model: nn.Module,
    averaged: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    folder: Path,
    record: Mapping[str, float],
    picture: Image.Image,
) -> None:
    state = {
        "model": model.state_dict(),
        "averaged": averaged.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    with replacing(folder / STATE_FILE) as temporary:
        torch.save(state, temporary)
    with (folder / LOG_FILE).open("a") as log:
        log.write(json.dumps(record) + "\n")
    picture.save(folder / f"step_{step:06d}.png")
