"""Read the settings of a checkpoint's networks. Sizes are compared with ranges before anything is built from them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..errors import FaceLiftError
from .state_dict import load_json

WIDTH = (1, 8192)
RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("layers_per_block", "transformer_layers_per_block"), (1, 16)),
    **dict.fromkeys(("num_hidden_layers",), (1, 64)),
    **dict.fromkeys(("num_attention_heads", "attention_head_dim", "norm_num_groups", "head_dim"), (1, 1024)),
    **dict.fromkeys(("block_out_channels", "hidden_size", "intermediate_size", "projection_dim", "addition_channels",
                     "cross_attention_dim", "projection_class_embeddings_input_dim", "time_embedding_dim"), WIDTH),
    **dict.fromkeys(("in_channels", "out_channels", "latent_channels", "num_channels", "num_views"), (1, 64)),
    **dict.fromkeys(("image_size", "sample_size", "patch_size", "height", "width", "shortest_edge"), (1, 2048)),
    **dict.fromkeys(("num_train_timesteps",), (1, 10_000)),
    **dict.fromkeys(("max_position_embeddings",), (1, 1024)),
    **dict.fromkeys(("vocab_size",), (1, 200_000)),
    **dict.fromkeys(("conv_in_kernel", "conv_out_kernel", "downsample_padding"), (0, 9)),
}  # fmt: skip
"""Lowest and highest number by setting, some times what the published networks have."""
OTHER = 10**6
ENTRIES_MAX = 10_000
TEXT_MAX = 1000


def load_config(path: str | Path) -> dict[str, Any]:
    """Load a network's settings.

    Raises:
        FaceLiftError: the file is missing or not JSON, or a setting is out of its range.
    """
    config = load_json(path)
    _check(config, "", path)
    return config


def _check(value: Any, name: str, path: str | Path) -> None:
    if isinstance(value, dict | list):
        if len(value) > ENTRIES_MAX:
            raise FaceLiftError(f"{path}: {name or 'it'} has {len(value):,} entries, which is too many.")
        for key, entry in value.items() if isinstance(value, dict) else ((name, entry) for entry in value):
            _check(entry, str(key), path)
    elif isinstance(value, str) and len(value) > TEXT_MAX:
        raise FaceLiftError(f"{path}: {name[:99]} is longer than {TEXT_MAX} characters.")
    elif name in RANGES and value is not None and type(value) is not int:
        raise FaceLiftError(f"{path}: {name} must be a whole number, not {value!r:.30}.")
    elif isinstance(value, int | float):
        lowest, highest = RANGES.get(name, (-OTHER, OTHER))
        if not math.isfinite(value) or not lowest <= value <= highest:
            raise FaceLiftError(f"{path}: {name[:99]} must be from {lowest:,} to {highest:,}, not {value!r:.30}.")
