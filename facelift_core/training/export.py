"""Exports trained runs to a checkpoint folder in the released layout (docs/model.md, 1), in half precision."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from ..files import replacing
from ..multiview.loading import SAMPLING_FILE, load_guidance
from ..multiview.prompts import CACHE_FILE as PROMPT_EMBEDS
from ..multiview.unet import attention_mode
from ..weights.layout import find_pipeline
from ..weights.named import find_weights
from ..weights.state_dict import save_safetensors
from .gaussians import gslrm_of, gslrm_of_run, head_dim
from .heads.dataset import HeadDataset
from .loop import is_run
from .view_model import VIEWS, ViewStage, image_noising_scheduler

MULTI_VIEW_NAMES = {
    "CrossAttnDownBlock2D": "CrossAttnDownBlockMV2D",
    "CrossAttnUpBlock2D": "CrossAttnUpBlockMV2D",
    "UNetMidBlock2DCrossAttn": "UNetMidBlockMV2DCrossAttn",
}


def export(
    folder: Path,
    autoencoder_run: Path | None,
    views: str,
    gaussians: str,
    held_out: Path | None,
    guidance_scale: float | None = None,
) -> None:
    """Write `folder`/mvdiffusion/pipeckpts/… and `folder`/gslrm/gslrm.safetensors.

    Args:
        autoencoder_run: run of the autoencoder; None if `views` was started from a checkpoint, whose autoencoder is
            used then.
        views: run of the view diffusion, or a checkpoint whose view diffusion and autoencoder to use.
        gaussians: run of GS-LRM, or a checkpoint whose GS-LRM to use.
        held_out: heads of the size of the run's views; None if `views` is a checkpoint.
        guidance_scale: default guidance scale of the checkpoint; None: the published one, or that of `views` if it is a
            checkpoint.

    Raises:
        FaceLiftError: a run is missing or belongs to another model, or the folder cannot be written.
    """
    if autoencoder_run or is_run(views):
        stage = ViewStage.of_run(Path(views), autoencoder_run, HeadDataset(held_out))
    else:
        stage = ViewStage.of_weights(views)
        guidance_scale = load_guidance(find_pipeline(find_weights(views))) if guidance_scale is None else guidance_scale
    model, pipeline = stage.model, folder / "mvdiffusion" / "pipeckpts"
    _write(pipeline / "vae", "diffusion_pytorch_model", stage.autoencoder, _config(stage.autoencoder))
    _write(pipeline / "unet", "diffusion_pytorch_model", model.unet, _unet_config(model.unet))
    tower = model.image_encoder
    _write(pipeline / "image_encoder", "model", tower, {**tower.config.to_dict(), "dtype": "float16"})
    save_half({"prompt_embeds": model.prompt_embeds.detach()}, pipeline / PROMPT_EMBEDS)

    _write_json(pipeline / "feature_extractor" / "preprocessor_config.json", model.processor.to_dict())
    _write_json(pipeline / "image_normalizer" / "config.json", {"embedding_dim": model.embedding_mean.shape[-1]})
    statistics = {"mean": model.embedding_mean, "std": model.embedding_std}
    save_half(statistics, pipeline / "image_normalizer" / "diffusion_pytorch_model.safetensors")
    _write_json(pipeline / "scheduler" / "scheduler_config.json", _config(stage.scheduler))
    _write_json(pipeline / "image_noising_scheduler" / "scheduler_config.json", _config(image_noising_scheduler()))

    if guidance_scale is not None:
        _write_json(pipeline / SAMPLING_FILE, {"guidance_scale": guidance_scale})

    gslrm = gslrm_of_run(Path(gaussians)) if is_run(gaussians) else gslrm_of(gaussians)
    save_half(gslrm.state_dict(), folder / "gslrm" / "gslrm.safetensors")
    _write_json(folder / "gslrm" / "config.json", {"head_dim": head_dim(gslrm), "sh_degree": 0})


def _unet_config(unet: nn.Module) -> dict:
    config = _config(unet)
    for key in ("down_block_types", "up_block_types"):
        config[key] = [MULTI_VIEW_NAMES.get(name, name) for name in config[key]]
    config["mid_block_type"] = MULTI_VIEW_NAMES.get(config["mid_block_type"], config["mid_block_type"])
    mode = attention_mode(unet)
    return {
        **config,
        "_class_name": "UNetMV2DConditionModel",
        "num_views": VIEWS,
        "multiview_attention": mode != "none",
        "sparse_mv_attention": mode == "sparse",
    }


def _config(part) -> dict:
    """A diffusers config without entries specific to this machine or run."""
    return {key: value for key, value in json.loads(part.to_json_string()).items() if key != "_name_or_path"}


def _write(folder: Path, name: str, module: nn.Module, config: Mapping) -> None:
    _write_json(folder / "config.json", config)
    save_half(module.state_dict(), folder / f"{name}.safetensors")


def _write_json(path: Path, content: Mapping) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def save_half(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file in half precision; creates its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {
        name: tensor.detach().half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }
    save_safetensors(halves, path, {"format": "pt"})
