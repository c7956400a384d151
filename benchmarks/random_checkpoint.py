"""Write random weights in the released layout, to measure speed and memory.

python benchmarks/random_checkpoint.py FOLDER --size small|full [--as-released]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from facelift_core.gslrm.network import GSLRM

TOKENIZER = ROOT / "tests" / "goldens" / "mvdiffusion" / "pipeckpts" / "tokenizer"


@dataclass(frozen=True)
class Sizes:
    """Sizes of a checkpoint. `text`, `vision`: width, layers, heads. `image`, `latent`: input sides of CLIP, UNet."""

    unet: tuple[int, ...]
    unet_heads: tuple[int, ...]
    unet_layers: int
    latent: int
    vae: tuple[int, ...]
    text: tuple[int, int, int]
    vision: tuple[int, int, int]
    patch: int
    image: int
    embedding: int
    gslrm: tuple[int, int]


SIZES = {
    "tiny": Sizes(
        (32, 32, 64, 64), (1, 1, 2, 2), 1, 8, (32, 32, 32, 32),
        (32, 2, 2), (32, 2, 2), 14, 28, 32, (64, 2),
    ),
    "small": Sizes(
        (64, 128, 256, 256), (1, 2, 4, 4), 2, 32, (32, 64, 64, 64),
        (256, 6, 4), (256, 6, 4), 14, 224, 256, (512, 8),
    ),
    "full": Sizes(
        (320, 640, 1280, 1280), (5, 10, 20, 20), 2, 64, (128, 256, 512, 512),
        (1024, 23, 16), (1280, 32, 16), 14, 224, 1024, (1024, 24),
    ),
}  # fmt: skip
"""“tiny” is for testing scripts. “small” has a hundredth of the arithmetic of the released size, in similar
proportions: a step has 42 % convolutions, 28 % linear layers, 30 % attention (released: 46, 29, 25); the views are 86 %
of a run of 50 steps (released: 88)."""

LOSS_WEIGHTS = 14_714_688
"""Number of parameters of the VGG for the loss, which the released training checkpoint contains."""


def unet_config(sizes: Sizes) -> dict:
    """Return the arguments of the stock UNet."""
    levels = len(sizes.unet)
    return {
        "sample_size": sizes.latent,
        "in_channels": 8,
        "out_channels": 4,
        "block_out_channels": sizes.unet,
        "layers_per_block": sizes.unet_layers,
        "down_block_types": ("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        "attention_head_dim": sizes.unet_heads,
        "cross_attention_dim": sizes.text[0],
        "use_linear_projection": True,
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 2 * sizes.embedding,
        "upcast_attention": True,
    }


def write_checkpoint(
    folder: Path, sizes: Sizes, as_released: bool = False, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> None:
    """Write a complete checkpoint to `folder`.

    Args:
        as_released: use the files and dtypes of the release (docs/model.md, 1): CLIP and autoencoder in half precision,
            GS-LRM as a training checkpoint with optimizer state and loss network.
        dtype: dtype of the weights.
        device: device to generate them on; a GPU takes seconds for the full size.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            _write_parts(folder, sizes, as_released)
    finally:
        torch.set_default_dtype(before)


def _write_parts(folder: Path, sizes: Sizes, as_released: bool) -> None:
    torch.manual_seed(0)
    half = torch.float16 if as_released else torch.get_default_dtype()
    pipeline = folder / "mvdiffusion" / "pipeckpts"
    text_width, text_layers, text_heads = sizes.text
    unet = unet_config(sizes)
    multi_view = {"num_views": 6, "multiview_attention": True, "sparse_mv_attention": True}
    _write(pipeline / "unet", "diffusion_pytorch_model", UNet2DConditionModel(**unet), unet | multi_view)
    vae = {
        "block_out_channels": sizes.vae,
        "layers_per_block": 2,
        "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "scaling_factor": 0.18215,
    }
    _write(pipeline / "vae", "diffusion_pytorch_model", AutoencoderKL(**vae).to(half), vae)
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=text_width, intermediate_size=4 * text_width, num_hidden_layers=text_layers,
        num_attention_heads=text_heads, projection_dim=text_width,
    )  # fmt: skip
    _write(pipeline / "text_encoder", "model", CLIPTextModel(text).to(half), text.to_dict())
    shutil.copytree(TOKENIZER, pipeline / "tokenizer", dirs_exist_ok=True)
    width, layers, heads = sizes.vision
    vision = CLIPVisionConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
        image_size=sizes.image, patch_size=sizes.patch, projection_dim=sizes.embedding,
    )  # fmt: skip
    _write(pipeline / "image_encoder", "model", CLIPVisionModelWithProjection(vision).to(half), vision.to_dict())
    crop = {"height": sizes.image, "width": sizes.image}
    _write_json(
        pipeline / "feature_extractor" / "preprocessor_config.json",
        {"size": {"shortest_edge": sizes.image}, "crop_size": crop},
    )
    ddim = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        steps_offset=1, set_alpha_to_one=False, clip_sample=False,
    )  # fmt: skip
    _write_json(pipeline / "scheduler" / "scheduler_config.json", dict(ddim.config))
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    _write_json(pipeline / "image_noising_scheduler" / "scheduler_config.json", dict(noising.config))
    _write_json(pipeline / "image_normalizer" / "config.json", {"embedding_dim": sizes.embedding})
    statistics = {"mean": torch.zeros(1, sizes.embedding), "std": torch.ones(1, sizes.embedding)}
    save_file(statistics, pipeline / "image_normalizer" / "diffusion_pytorch_model.safetensors")
    gslrm = GSLRM(*sizes.gslrm)
    for parameter in gslrm.parameters():
        nn.init.normal_(parameter, std=0.02) if parameter.ndim > 1 else nn.init.ones_(parameter)
    (folder / "gslrm").mkdir(parents=True, exist_ok=True)
    if as_released:
        torch.save(_training_checkpoint(gslrm), folder / "gslrm" / "ckpt_0000000000021125.pt")
    else:
        save_file(gslrm.state_dict(), folder / "gslrm" / "gslrm.safetensors")


def _training_checkpoint(gslrm: nn.Module) -> dict:
    """Return a training checkpoint as released: weights, both AdamW moments, and the loss network."""
    optimizer = torch.optim.AdamW(gslrm.parameters())
    for parameter in gslrm.parameters():
        optimizer.state[parameter] = {
            "step": torch.tensor(21125.0),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return {
        "model": gslrm.state_dict() | {"loss_calculator.perceptual.weight": torch.zeros(LOSS_WEIGHTS)},
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"last_epoch": 21125},
        "fwdbwd_pass_step": 21125,
        "param_update_step": 21125,
    }


def _write(folder: Path, name: str, model: nn.Module, config: dict) -> None:
    _write_json(folder / "config.json", config)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / f"{name}.safetensors")


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--as-released", action="store_true", help="use the files and dtypes of the release")
    arguments = parser.parse_args()
    write_checkpoint(arguments.folder, SIZES[arguments.size], arguments.as_released)
