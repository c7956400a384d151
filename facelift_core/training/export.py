"""Trained runs to one checkpoint folder in the released layout (spec §1), in half precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from transformers import CLIPImageProcessorPil

from ..files import replacing
from ..multiview.prompts import CACHE_FILE as PROMPT_EMBEDS
from ..weights import save_safetensors
from .autoencoder import load_autoencoder
from .gaussians import build_gslrm
from .heads.dataset import HeadDataset
from .loop import load_averaged
from .views import EMBEDDING_WIDTH, VIEWS, ViewDiffusion, noise_scheduler

MULTI_VIEW_NAMES = {
    "CrossAttnDownBlock2D": "CrossAttnDownBlockMV2D",
    "CrossAttnUpBlock2D": "CrossAttnUpBlockMV2D",
    "UNetMidBlock2DCrossAttn": "UNetMidBlockMV2DCrossAttn",
}


def export(folder: Path, autoencoder_run: Path, views_run: Path, gaussians_run: Path, held_out: Path) -> None:
    """Write `folder`/mvdiffusion/pipeckpts/… and `folder`/gslrm/gslrm.safetensors.

    Raises:
        FaceLiftError: a run is missing or of another model, or the folder cannot be written.
    """
    heads = HeadDataset(held_out)
    pipeline = folder / "mvdiffusion" / "pipeckpts"
    autoencoder = load_autoencoder(autoencoder_run, heads)
    _write(pipeline / "vae", "diffusion_pytorch_model", autoencoder, _config(autoencoder))

    views = load_averaged(ViewDiffusion(heads.size), views_run)
    _write(pipeline / "unet", "diffusion_pytorch_model", views.unet, _unet_config(views.unet))
    tower = views.image_encoder
    _write(pipeline / "image_encoder", "model", tower, {**tower.config.to_dict(), "dtype": "float16"})
    _save({"prompt_embeds": views.prompt_embeds.detach()}, pipeline / PROMPT_EMBEDS)

    processor = CLIPImageProcessorPil(
        size={"shortest_edge": heads.size}, crop_size={"height": heads.size, "width": heads.size}
    )
    _write_json(pipeline / "feature_extractor" / "preprocessor_config.json", processor.to_dict())
    _write_json(pipeline / "image_normalizer" / "config.json", {"embedding_dim": EMBEDDING_WIDTH})
    statistics = {"mean": torch.zeros(1, EMBEDDING_WIDTH), "std": torch.ones(1, EMBEDDING_WIDTH)}
    _save(statistics, pipeline / "image_normalizer" / "diffusion_pytorch_model.safetensors")
    _write_json(pipeline / "scheduler" / "scheduler_config.json", _config(noise_scheduler()))
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    _write_json(pipeline / "image_noising_scheduler" / "scheduler_config.json", _config(noising))

    gslrm = load_averaged(build_gslrm(), gaussians_run)
    _save(gslrm.state_dict(), folder / "gslrm" / "gslrm.safetensors")


def _unet_config(unet: nn.Module) -> dict:
    config = _config(unet)
    for key in ("down_block_types", "up_block_types"):
        config[key] = [MULTI_VIEW_NAMES.get(name, name) for name in config[key]]
    config["mid_block_type"] = MULTI_VIEW_NAMES[config["mid_block_type"]]
    return {
        **config,
        "_class_name": "UNetMV2DConditionModel",
        "num_views": VIEWS,
        "multiview_attention": True,
        "sparse_mv_attention": True,
    }


def _config(part) -> dict:
    """A diffusers config without what only belongs to this machine or run."""
    return {key: value for key, value in json.loads(part.to_json_string()).items() if key != "_name_or_path"}


def _write(folder: Path, name: str, module: nn.Module, config: Mapping) -> None:
    _write_json(folder / "config.json", config)
    _save(module.state_dict(), folder / f"{name}.safetensors")


def _write_json(path: Path, content: Mapping) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save_safetensors(halves, path, {"format": "pt"})
