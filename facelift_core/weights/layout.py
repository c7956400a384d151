"""Find the parts of a checkpoint in a folder with the released layout (docs/model.md, 1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import FaceLiftError
from .state_dict import load_json

LAYOUT = "mvdiffusion/pipeckpts/… and gslrm/*.safetensors or gslrm/ckpt_*.pt"
PIPELINE_FILES = (
    "feature_extractor/preprocessor_config.json",
    "image_encoder/config.json",
    "image_encoder/model.safetensors",
    "image_noising_scheduler/scheduler_config.json",
    "image_normalizer/config.json",
    "image_normalizer/diffusion_pytorch_model.safetensors",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
PROMPT_FILES = (
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
)
PROMPT_EMBEDS = "prompt_embeds.safetensors"
HEAD_DIM_MAX = 1024


@dataclass(frozen=True)
class Checkpoint:
    """The paths of one set of weights.

    Attributes:
        folder: root of the released layout.
        pipeline: folder of the multi-view diffusion model, ``mvdiffusion/pipeckpts``.
        gslrm: weights file of GS-LRM.
        head_dim, sh_degree: settings of GS-LRM that its weights do not reveal, from ``gslrm/config.json`` if present.
    """

    folder: Path
    pipeline: Path
    gslrm: Path
    head_dim: int = 64
    sh_degree: int = 0


def find_checkpoint(folder: str | Path) -> Checkpoint:
    """Find the checkpoint in a folder with the released layout, and check that it is complete.

    Raises:
        FaceLiftError: the folder does not exist, has another layout, or lacks files.
    """
    folder = _existing(folder)
    pipeline = folder / "mvdiffusion" / "pipeckpts"
    if not pipeline.is_dir() and not (folder / "gslrm").is_dir():
        raise FaceLiftError(_not_a_checkpoint(folder))
    missing = [f"mvdiffusion/pipeckpts/{name}" for name in _missing_in_pipeline(pipeline)]
    gslrm = _newest_gslrm(folder / "gslrm")
    if gslrm is None:
        missing.append("gslrm/*.safetensors or gslrm/ckpt_*.pt")
    if missing:
        raise FaceLiftError(_incomplete(folder, missing))
    return Checkpoint(folder, pipeline, gslrm, *_gslrm_settings(folder / "gslrm" / "config.json"))


def find_pipeline(folder: str | Path) -> Path:
    """Find the multi-view diffusion model in a checkpoint, or in ``pipeckpts`` itself.

    Raises:
        FaceLiftError: the folder does not exist, has another layout, or lacks files.
    """
    folder = _existing(folder)
    candidates = (folder, folder / "pipeckpts", folder / "mvdiffusion" / "pipeckpts")
    pipeline = next((c for c in candidates if (c / "unet").is_dir()), None)
    if pipeline is None:
        raise FaceLiftError(_not_a_checkpoint(folder))
    if missing := list(_missing_in_pipeline(pipeline)):
        raise FaceLiftError(_incomplete(pipeline, missing))
    return pipeline


def _existing(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.exists():
        raise FaceLiftError(f"There are no weights at {folder}; give a folder with {LAYOUT}.")
    if not folder.is_dir():
        raise FaceLiftError(f"{folder} is a file; give a folder with {LAYOUT}.")
    return folder


def _missing_in_pipeline(pipeline: Path) -> Iterator[str]:
    yield from (name for name in PIPELINE_FILES if not (pipeline / name).is_file())
    # A checkpoint may contain the prompt embeddings instead of the text encoder.
    if not (pipeline / PROMPT_EMBEDS).is_file():
        yield from (name for name in PROMPT_FILES if not (pipeline / name).is_file())


def _newest_gslrm(folder: Path) -> Path | None:
    """Return the training checkpoint with the highest number, safetensors preferred; else any safetensors file."""
    numbered = [path for path in folder.glob("ckpt_*") if re.fullmatch(r"ckpt_\d+\.(pt|safetensors)", path.name)]
    newest = max(numbered, key=lambda path: (int(path.stem[5:]), path.suffix == ".safetensors"), default=None)
    return newest or next(iter(sorted(folder.glob("*.safetensors"))), None)


def _gslrm_settings(path: Path) -> tuple[int, int]:
    config = load_json(path) if path.is_file() else {}
    settings = {"head_dim": config.get("head_dim", Checkpoint.head_dim), "sh_degree": config.get("sh_degree", 0)}
    head_dim, sh_degree = settings.values()
    if (
        type(head_dim) is not int
        or not 1 <= head_dim <= HEAD_DIM_MAX
        or type(sh_degree) is not int
        or not 0 <= sh_degree <= 3
    ):
        raise FaceLiftError(
            f"{path}: head_dim must be a positive integer and sh_degree from 0 to 3, not {json.dumps(settings)}."
        )
    return head_dim, sh_degree


def _not_a_checkpoint(folder: Path) -> str:
    for parent in folder.parents[:2]:
        if (parent / "mvdiffusion").is_dir() and (parent / "gslrm").is_dir():
            return f"{folder} is only part of the weights; give the folder {parent}."
    if inner := next((p.parent for p in sorted(folder.glob("*/mvdiffusion"))), None):
        return f"The weights are in a subfolder; give {inner}."
    return f"{folder} does not contain FaceLift weights; give a folder with {LAYOUT}."


def _incomplete(folder: Path, missing: list[str]) -> str:
    shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
    return f"The weights in {folder} are incomplete: {shown} missing; finish or restart the download."
