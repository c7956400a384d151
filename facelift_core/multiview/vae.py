"""Load Stable Diffusion's image autoencoder."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from ..errors import FaceLiftError, first_line
from ..weights.config import load_config
from ..weights.state_dict import load_into, load_state_dict

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
SCALING_MAX = 100.0
FORMER_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention weights before diffusers 0.17, still used in checkpoints derived from older ones."""


def load_vae(folder: str | Path) -> AutoencoderKL:
    """Load an autoencoder strictly, on the CPU, in the dtype of its file.

    Args:
        folder: folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``.

    Raises:
        FaceLiftError: a file is missing or damaged, or the weights do not match the config.
    """
    folder = Path(folder)
    config = load_config(folder / "config.json")
    known = inspect.signature(AutoencoderKL.__init__).parameters.keys() - {"self"}
    try:
        with torch.device("meta"):
            vae = AutoencoderKL(**{key: value for key, value in config.items() if key in known})
    except Exception as error:  # an invalid config can fail anywhere in the constructors
        reason = first_line(error)
        raise FaceLiftError(f"{folder / 'config.json'} does not describe an autoencoder: {reason}") from None
    scale = vae.config.scaling_factor
    if type(scale) not in (int, float) or not 0 < scale <= SCALING_MAX:
        raise FaceLiftError(f"{folder / 'config.json'}: scaling_factor should be from 0 to {SCALING_MAX}.")
    path = folder / WEIGHTS_FILE
    load_into(vae, {_current_name(name): tensor for name, tensor in load_state_dict(path).items()}, path)
    return vae.requires_grad_(False).eval()


def _current_name(name: str) -> str:
    return re.sub(r"(\.attentions\.\d+\.)(query|key|value|proj_attn)\.", lambda m: f"{m[1]}{FORMER_NAMES[m[2]]}.", name)
