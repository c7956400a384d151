"""Load the settings and small parts of a diffusion pipeline, and check that its parts match."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import FaceLiftError, first_line
from ..rendering.cameras import VIEW_NAMES
from ..weights.config import load_config
from ..weights.state_dict import load_json, load_state_dict

if TYPE_CHECKING:
    from .diffusion import MultiViewDiffusion

VIEWS = len(VIEW_NAMES)
SAMPLING_FILE = "sampling.json"
"""Optional file of this project in a pipeline folder: ``{"guidance_scale": 2.0}``."""
PUBLISHED_GUIDANCE = 3.0


def load_guidance(folder: Path) -> float:
    """Return the guidance scale that a checkpoint recommends, or the published one if it has no recommendation.

    Raises:
        FaceLiftError: the recommendation is invalid.
    """
    path = folder / SAMPLING_FILE
    if not path.is_file():
        return PUBLISHED_GUIDANCE
    scale = load_json(path).get("guidance_scale", PUBLISHED_GUIDANCE)
    if type(scale) not in (int, float) or not 0 <= scale < math.inf:
        raise FaceLiftError(f"{path}: guidance_scale must be a number of at least 0, not {scale!r}.")
    return float(scale)


def load_normalizer(folder: Path) -> tuple[Tensor, Tensor]:
    """Load mean and standard deviation of CLIP embeddings, (1, E) float32 each."""
    path = folder / "diffusion_pytorch_model.safetensors"
    weights = load_state_dict(path)
    mean, std = weights.get("mean"), weights.get("std")
    if mean is None or std is None or mean.shape != std.shape or mean.ndim != 2 or len(mean) != 1:
        raise FaceLiftError(f"{path} must contain mean and std of shape (1, width).")
    return mean.float(), std.float()


def load_scheduler(scheduler_class: type, folder: Path) -> Any:
    path = folder / "scheduler_config.json"
    config = load_config(path)
    if config.get("_class_name", scheduler_class.__name__) != scheduler_class.__name__:
        raise FaceLiftError(f"{path} describes a {config['_class_name']} where a {scheduler_class.__name__} is needed.")
    try:
        scheduler = scheduler_class.from_config(config)
        noise = scheduler.alphas_cumprod
        sound = len(noise) == scheduler.config.num_train_timesteps and noise.ndim == 1
        sound = sound and noise.isfinite().all() and noise.min() >= 0 and noise.max() <= 1
    except Exception as error:
        reason = first_line(error)
        raise FaceLiftError(f"{path} does not describe a {scheduler_class.__name__}: {reason}") from None
    if not sound:
        raise FaceLiftError(
            f"{path} does not describe a {scheduler_class.__name__}: its amounts of noise make no sense."
        )
    return scheduler


def check_parts_fit(model: MultiViewDiffusion, folder: Path) -> None:
    """Raise FaceLiftError if the parts of the pipeline come from different checkpoints."""
    unet, latents = model.unet.config, model.vae.config.latent_channels
    embedding = model.image_encoder.config.projection_dim
    crop = model.image_processor.crop_size
    for what, found, expected in (
        ("number of views", unet.num_views, VIEWS),
        ("UNet's input channels", unet.in_channels, 2 * latents),
        ("UNet's output channels", unet.out_channels, latents),
        ("UNet's class embedding", unet.class_embed_type, "projection"),
        ("width of the UNet's class labels", unet.projection_class_embeddings_input_dim, 2 * embedding),
        ("width of the image normalizer", model.embedding_mean.shape[-1], embedding),
        ("shape of the prompt embeddings", model.prompt_embeds.shape[::2], (VIEWS, unet.cross_attention_dim)),
        ("size of CLIP's input", (crop["height"], crop["width"]), (model.image_encoder.config.image_size,) * 2),
    ):
        if found != expected:
            raise FaceLiftError(f"The parts in {folder} do not fit together: the {what} is {found}, not {expected}.")
