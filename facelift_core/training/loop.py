"""Training loop shared by the autoencoder, the view diffusion and GS-LRM.

Random numbers depend only on (seed, step, process) and the learning rate only on (step, steps), so a resumed run takes
exactly the same steps as an uninterrupted one. Under ``accelerate launch``, every process draws its own batches, and
gradients are averaged over all processes.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
import torch.utils.checkpoint
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..errors import FaceLiftError
from ..files import replacing
from ..weights.state_dict import load_json
from .processes import Processes

WARMUP_STEPS = 100
DECAY_FRACTION = 0.25
GRADIENT_CLIP = 1.0
WEIGHT_DECAY = 0.01
STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
ORIGIN_FILE = "run.json"


Batch = TypeVar("Batch")


@dataclass(frozen=True)
class Task(Generic[Batch]):
    """What to train.

    Attributes:
        model: the model; every parameter with ``requires_grad`` is trained.
        draw: maps a step number and that step's random generator to a batch on the CPU. Worker processes may call it
            in advance, so it must be picklable and must not use the model.
        loss: maps a step number, its batch and a second generator to a scalar loss; may add metrics to the mapping.
        validate: computes metrics of the averaged model on held-out heads.
        picture: draws outputs of the averaged model for a few held-out heads.
        matrices: weights of hidden linear layers, optimized with Muon; AdamW optimizes the others. From the same
            checkpoint and at the same rate, GS-LRM's unseen views were 0.25 dB better after 250 steps than with AdamW
            alone.
        export: called with the averaged model and the run's folder whenever the run is saved.
    """

    model: nn.Module
    draw: Callable[[int, np.random.Generator], Batch]
    loss: Callable[[int, Batch, np.random.Generator, dict[str, float]], Tensor]
    validate: Callable[[nn.Module], Mapping[str, float]]
    picture: Callable[[nn.Module], Image.Image]
    matrices: Sequence[nn.Parameter] = ()
    export: Callable[[nn.Module, Path], None] | None = None


@dataclass(frozen=True)
class LoopOptions:
    """Options of a run; `folder` stores its state, log and pictures.

    Attributes:
        mixed_precision: use bfloat16 autocast.
        processes: this process among those of `accelerate launch`, with its device.
        workers: number of processes that prepare batches in advance, so that a GPU does not wait for them. Does not
            affect which heads are drawn.
        minutes: time limit. The run ends after this time even if steps remain, and the learning rate decays to zero by
            then. Runs with a time limit are not reproducible.
        origin: checkpoint that provides the architecture (and frozen parts); None for our own.
    """

    folder: Path
    steps: int
    learning_rate: float
    seed: int = 0
    ema_decay: float = 0.998
    validate_every: int = 500
    mixed_precision: bool = True
    processes: Processes = field(default_factory=Processes)
    workers: int = 0
    origin: str | None = None
    minutes: float | None = None

    @property
    def device(self) -> torch.device:
        return self.processes.device


def learning_rate(step: int, steps: int, peak: float, spent: float = 0.0) -> float:
    """Warm-up, plateau, then cosine decay to zero over the last quarter. A run can be extended during the plateau.

    Args:
        spent: elapsed fraction of the time limit, if there is one; takes effect if time runs out before the steps.
    """
    step_of_clock = max(step, min(1.0, spent) * steps)
    decay_start = steps * (1 - DECAY_FRACTION)
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    progress = max(0.0, (step_of_clock - decay_start) / max(1.0, steps - decay_start))
    return peak * warm * 0.5 * (1 + math.cos(math.pi * progress))


def train(task: Task, options: LoopOptions) -> nn.Module:
    """Train until `options.steps`, resuming a run in the folder; returns the averaged (EMA) model.

    Raises:
        FaceLiftError: the folder contains the run of another model, or the loss is not finite.
    """
    model, processes = task.model.train(), options.processes
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # The averaged model shares the frozen parameters.
    averaged = copy.deepcopy(model, {id(p): p for p in model.parameters() if not p.requires_grad})
    state_names = _learned_names(model)
    averaged.requires_grad_(False).eval()
    optimizers = _optimizers(learned, task.matrices, options.learning_rate)
    step = _resume(model, averaged, optimizers, options.folder)
    processes.agree_on([*model.parameters(), *averaged.parameters()])
    if processes.main:
        _write_origin(options)
    bar = tqdm(
        initial=step,
        total=options.steps,
        desc=options.folder.name,
        smoothing=0.02,
        disable=None if processes.main else True,
    )
    figures: dict[str, float] = {}
    started = time.monotonic()
    spent = 0.0
    for batch in _batches(task, options, step):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate(step, options.steps, options.learning_rate, spent)
        _, random = _streams(options, step)
        torch.manual_seed(int(random.integers(2**62)))
        logged: dict[str, float] = {}
        with torch.autocast(options.device.type, torch.bfloat16, enabled=options.mixed_precision):
            loss = task.loss(step, batch, random, logged)
        model.zero_grad(set_to_none=True)
        loss.backward()
        processes.average_gradients(learned)
        norm = nn.utils.clip_grad_norm_(learned, GRADIENT_CLIP)
        if not torch.isfinite(norm):
            raise FaceLiftError(
                f"The loss is {loss.item()} with a gradient of {norm.item()} at step {step}; lower --learning-rate and "
                "start again."
            )
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        _average(averaged, model, min(options.ema_decay, step / (step + 10)))
        for name, value in {"loss": loss.item(), **logged}.items():
            figures[name] = 0.98 * figures.get(name, value) + 0.02 * value
        bar.update()
        bar.set_postfix_str(" ".join(f"{name} {value:.4f}" for name, value in figures.items()), refresh=False)
        spent = _spent(options, started)
        last = step == options.steps or spent >= 1
        if step % options.validate_every == 0 or last:
            if processes.main:
                with torch.no_grad():
                    validation = dict(task.validate(averaged))
                    picture = task.picture(averaged)
                record = {"step": step, "seconds": round(time.monotonic() - started, 1), **figures, **validation}
                tqdm.write(" ".join(f"{k} {v:.4g}" for k, v in record.items()))
                state = {
                    "model": _state(model, state_names),
                    "averaged": _state(averaged, state_names),
                    "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "step": step,
                }
                _save(state, options.folder, record, picture)
                if task.export:
                    task.export(averaged, options.folder)
            processes.wait()
        if last:
            break
    bar.close()
    return averaged


def _spent(options: LoopOptions, started: float) -> float:
    """Elapsed fraction of the time limit, by the first process's clock; 0 without a limit."""
    if options.minutes is None:
        return 0.0
    spent = torch.tensor((time.monotonic() - started) / (60 * options.minutes), device=options.device)
    options.processes.agree_on([spent])
    return spent.item()


def _streams(options: LoopOptions, step: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Random generators of one step: for its batch, and for everything else."""
    drawing, other = np.random.default_rng((options.seed, step, *options.processes.stream)).spawn(2)
    return drawing, other


class _Draws(Dataset):
    """Dataset of batches by step."""

    def __init__(self, task: Task, options: LoopOptions):
        self._draw, self._options = task.draw, options

    def __getitem__(self, step: int):
        return self._draw(step, _streams(self._options, step)[0])


def _batches(task: Task, options: LoopOptions, first: int) -> Iterator:
    """Batches of the steps from `first` on. Each batch is one item for torch's data loader."""
    steps = range(first, options.steps)
    return iter(DataLoader(_Draws(task, options), batch_size=None, sampler=steps, num_workers=options.workers))


def _optimizers(
    learned: Sequence[nn.Parameter], matrices: Sequence[nn.Parameter], rate: float
) -> list[torch.optim.Optimizer]:
    hidden = {id(parameter) for parameter in matrices}
    others = [parameter for parameter in learned if id(parameter) not in hidden]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=WEIGHT_DECAY)
    ]
    if matrices:
        # Matches the update size of AdamW, so that both share one learning rate and weight decay.
        muon = torch.optim.Muon(list(matrices), lr=rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw")
        optimizers.append(muon)
    return optimizers


def is_run(folder: str | Path) -> bool:
    return (Path(folder) / STATE_FILE).is_file()


def read_origin(folder: Path) -> str | None:
    """The checkpoint that the run in `folder` was started from, as it recorded; None if it started from scratch."""
    path = folder / ORIGIN_FILE
    return load_json(path).get("origin") if path.is_file() else None


def averaged_weights(folder: Path) -> dict[str, Tensor]:
    """Averaged (EMA) trained weights of the run in `folder`.

    Raises:
        FaceLiftError: there is no run, or it is damaged.
    """
    return _read_state(folder)["averaged"]


def load_averaged(model: nn.Module, folder: Path) -> nn.Module:
    """Load the averaged weights of the run in `folder` into `model`, and set it to evaluation mode.

    Raises:
        FaceLiftError: there is no run, or it belongs to another model.
    """
    load_learned(model, averaged_weights(folder), folder)
    return model.eval()


def checkpoint_activations(blocks: nn.ModuleList) -> None:
    """Enable activation checkpointing: recompute each block in the backward pass instead of storing activations."""
    for block in blocks:
        block.forward = partial(torch.utils.checkpoint.checkpoint, block.forward, use_reentrant=False)


def _learned_names(model: nn.Module) -> set[str]:
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return set(model.state_dict()) - frozen


def _state(model: nn.Module, names: set[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if name in names}


def load_learned(model: nn.Module, state: Mapping[str, Tensor], folder: Path) -> None:
    """Load the trained weights `state` of the run in `folder` into `model`.

    Raises:
        FaceLiftError: they belong to another model.
    """
    expected = {name: tensor.shape for name, tensor in _state(model, _learned_names(model)).items()}
    if expected != {name: tensor.shape for name, tensor in state.items()}:
        raise FaceLiftError(f"{folder} contains the run of another model; choose another folder.")
    model.load_state_dict(state, strict=False)


@torch.no_grad()
def _average(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    pairs = zip(averaged.parameters(), model.parameters(), strict=True)
    ours, theirs = zip(*[(mine, other) for mine, other in pairs if other.requires_grad], strict=True)
    torch._foreach_lerp_(list(ours), list(theirs), 1 - decay)
    for mine, other in zip(averaged.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


def _read_state(folder: Path) -> dict:
    try:
        return torch.load(folder / STATE_FILE, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise FaceLiftError(f"{folder} contains no training run; train first, or choose another folder.") from None
    except Exception as error:  # torch can raise almost any exception for a damaged file
        raise FaceLiftError(f"{folder / STATE_FILE} is damaged; delete it and train again.") from error


def _resume(model: nn.Module, averaged: nn.Module, optimizers: Sequence[torch.optim.Optimizer], folder: Path) -> int:
    if not is_run(folder):
        return 0
    state = _read_state(folder)
    load_learned(model, state["model"], folder)
    if len(state.get("optimizers", ())) != len(optimizers):
        raise FaceLiftError(
            f"{folder} contains another version's run, which cannot be resumed; choose another folder and use "
            "--start-from."
        )
    # The averaged model has requires_grad off, so the trained names come from the model.
    averaged.load_state_dict(state["averaged"], strict=False)
    for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    return state["step"]


def _write_origin(options: LoopOptions) -> None:
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {options.folder}: {error.strerror}.") from error
    with replacing(options.folder / ORIGIN_FILE) as temporary:
        temporary.write_text(json.dumps({"origin": options.origin}) + "\n", encoding="utf-8")


def _save(state: Mapping, folder: Path, record: Mapping[str, float], picture: Image.Image) -> None:
    with replacing(folder / STATE_FILE) as temporary:
        torch.save(state, temporary)
    with (folder / LOG_FILE).open("a") as log:
        log.write(json.dumps(record) + "\n")
    picture.save(folder / f"step_{state['step']:06d}.png")
