"""Diagnostics: versions, devices, weights and memory for bug reports; and silencing other packages."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable
from typing import Any

from . import __version__
from .compute.memory import memory
from .errors import FaceLiftError, first_line
from .user_dirs import cache_folder, keep_kernels

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "safetensors",
    "numpy",
    "scipy",
    "Pillow",
    "opencv-python-headless",
    "imageio-ffmpeg",
    "gsplat",
    "rembg",
    "onnxruntime",
    "pillow-heif",
    "anny",
)


def collect(weights: list[str]) -> dict[str, Any]:
    """Collect everything as plain data. A part that fails is reported as ``{"problem": …}``; the others still work."""
    return {
        "facelift": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "memory": _or_problem(memory),
        "devices": _or_problem(_devices),
        "weights": {name: _or_problem(lambda name=name: _weights(name)) for name in weights},
        "matting": _or_problem(_matting),
        "cache": _or_problem(_cache),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _or_problem(part: Callable[[], Any]) -> Any:
    try:
        return part()
    except Exception as error:  # reporting whatever is broken is the purpose of this command
        return {"problem": first_line(error)}


def _devices() -> dict[str, Any]:
    import torch

    from .compute.device import select_device, select_dtype

    chosen = select_device("auto")
    found: dict[str, Any] = {
        "auto": str(chosen),
        "precision": str(select_dtype(chosen)).removeprefix("torch."),
        "cpu": {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()},
    }
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found[f"cuda:{index}"] = {"name": torch.cuda.get_device_name(index), "free": free, "total": total}
    if torch.cuda.is_available():
        from .compute import fused
        from .multiview import graphs, when_to_compile

        found["kernels"] = fused.problem() or "Triton"
        found["recordings"] = graphs.problem() or "CUDA graphs"
        found["compiled networks"] = when_to_compile.state(torch.device("cuda"))
    if torch.backends.mps.is_available():
        found["mps"] = {"name": "Apple GPU", "total": torch.mps.recommended_max_memory()}
    return found


def _cache() -> dict[str, Any]:
    """What can be removed at any time and is made again when needed."""
    folder = cache_folder()
    files = (path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else ()
    return {"folder": str(folder), "bytes": sum(path.stat().st_size for path in files)}


def _weights(name: str) -> dict[str, Any]:
    from .weights.config import load_config
    from .weights.layout import find_checkpoint
    from .weights.named import find_weights

    checkpoint = find_checkpoint(find_weights(name))
    config = load_config(checkpoint.pipeline / "unet" / "config.json")
    return {
        "folder": str(checkpoint.folder),
        "bytes": sum(path.stat().st_size for path in checkpoint.folder.rglob("*") if path.is_file()),
        "gslrm": checkpoint.gslrm.name,
        "latents": config.get("sample_size"),
    }


def _matting() -> dict[str, str]:
    """Report which background removal methods work on this machine for a photo without transparency."""
    from PIL import Image

    from .align.matting import METHODS, choose_method
    from .photos import Photo

    photo = Photo(Image.new("RGB", (64, 64)), "photo")
    found = {}
    for method in METHODS:
        if method != "alpha":  # depends only on the photo
            try:
                chosen = choose_method(photo, method)
                found[method] = "available" if chosen == method else chosen
            except FaceLiftError as error:
                found[method] = str(error)
    return found


def quiet_libraries(offline: bool = True) -> None:
    """Silence warnings and log messages of other packages; their failures are reported as our own errors.

    Args:
        offline: also keep them off the network. Models are always loaded from local folders.
    """
    warnings.filterwarnings("ignore")
    keep_kernels()  # PyTorch's own choice is a folder that others could have made before
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if offline:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
