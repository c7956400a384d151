"""Load CLIP's text and vision models and its image preprocessing."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, PreTrainedModel
from transformers.utils import logging as transformers_logging

from ..errors import FaceLiftError, first_line
from ..weights.config import load_config
from ..weights.state_dict import load_state_dict

WEIGHTS_FILE = "model.safetensors"
SPARE = 4
"""A network with this many times the parameters in its file is not built, because it might not fit into memory."""

Model = TypeVar("Model", bound=PreTrainedModel)


def load_clip(model_class: type[Model], folder: str | Path) -> Model:
    """Load a CLIP text or vision model strictly, on the CPU in float32.

    transformers renames weights between versions. It therefore gets the state dict, and reports keys that do not match.

    Args:
        model_class: a transformers class, such as ``CLIPVisionModelWithProjection``.
        folder: folder with ``config.json`` and ``model.safetensors``.

    Raises:
        FaceLiftError: a file is missing or damaged, or the weights do not match the config.
    """
    folder = Path(folder)
    path = folder / WEIGHTS_FILE
    config = load_config(folder / "config.json")
    # Old checkpoints contain this constant, which transformers creates itself.
    weights = {name: tensor for name, tensor in load_state_dict(path).items() if not name.endswith("position_ids")}
    try:
        with torch.device("meta"):
            needed = sum(p.numel() for p in model_class(model_class.config_class.from_dict(config)).parameters())
    except Exception as error:  # an invalid config can fail anywhere in the constructors
        raise FaceLiftError(f"{folder} does not hold a {model_class.__name__}: {first_line(error)}") from None
    if needed > SPARE * sum(tensor.numel() for tensor in weights.values()):
        raise FaceLiftError(f"{path} is too small for the config.json beside it; it belongs to another one.")
    try:
        with _quiet():
            model, report = model_class.from_pretrained(
                None,
                config=model_class.config_class.from_dict(config),
                state_dict=weights,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except Exception as error:  # an invalid config can fail anywhere in the constructors
        reason = first_line(error)
        raise FaceLiftError(f"{folder} does not hold a {model_class.__name__}: {reason}") from None
    for kind, problem in (("missing", "lacks"), ("unexpected", "has the unknown weight"), ("mismatched", "misfits in")):
        if names := sorted(map(str, report[f"{kind}_keys"])):
            raise FaceLiftError(
                f"{path} {problem} {names[0]} ({len(names)} in all); it does not match the config.json beside it."
            )
    return model.requires_grad_(False).eval()


def load_image_processor(folder: str | Path) -> CLIPImageProcessorPil:
    """Load CLIP's image preprocessing, with Pillow as its backend: torchvision resamples differently.

    Raises:
        FaceLiftError: ``preprocessor_config.json`` is missing or invalid.
    """
    path = Path(folder) / "preprocessor_config.json"
    config = load_config(path)
    try:
        processor = CLIPImageProcessorPil.from_dict(config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about problems that are reported below
            trial = processor(Image.new("RGB", (64, 48), (200, 100, 50)), return_tensors="pt").pixel_values
        crop = processor.crop_size
        sound = trial.shape == (1, 3, crop["height"], crop["width"]) and trial.isfinite().all()
    except Exception as error:
        raise FaceLiftError(f"{path} does not describe CLIP's preprocessing: {first_line(error)}") from None
    if not sound:
        raise FaceLiftError(f"{path} does not describe CLIP's preprocessing: it gives no picture of its crop size.")
    return processor


@contextmanager
def _quiet() -> Iterator[None]:
    """Context manager without progress bars and warnings from transformers; the errors above replace them."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
