"""``facelift info``: what is installed, what it can run on, and what is missing; for people and for reports."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

from .. import __version__
from ..compute.memory import memory
from ..errors import FaceLiftError

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


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "info",
        help="versions, devices, weights and memory",
        description="Show versions, devices, weights, ways to remove backgrounds, and memory.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--weights", metavar="FOLDER", action="append", default=[], help="also look for weights there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    found = collect(["mini", *options.weights])
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else "\n".join(_lines(found)))
    return 0


def collect(weights: list[str]) -> dict[str, Any]:
    """Everything as plain data; a part that is broken or missing tells its ``problem`` and does not hide the rest."""
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
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _or_problem(part: Callable[[], Any]) -> Any:
    try:
        return part()
    except Exception as error:  # whatever is broken, this command is there to say so
        return {"problem": str(error).splitlines()[0] if str(error) else type(error).__name__}


def _devices() -> dict[str, Any]:
    import torch

    from ..compute.device import select_device, select_dtype

    chosen = select_device("auto")
    found: dict[str, Any] = {
        "auto": str(chosen),
        "precision": str(select_dtype(chosen)).removeprefix("torch."),
        "cpu": {"name": platform.processor() or platform.machine(), "cores": os.cpu_count()},
    }
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found[f"cuda:{index}"] = {"name": torch.cuda.get_device_name(index), "free": free, "total": total}
    if torch.backends.mps.is_available():
        found["mps"] = {"name": "Apple GPU", "total": torch.mps.recommended_max_memory()}
    return found


def _weights(name: str) -> dict[str, Any]:
    from ..weights.layout import find_checkpoint
    from ..weights.state_dict import load_json

    checkpoint = find_checkpoint(name)
    config = load_json(checkpoint.pipeline / "unet" / "config.json")
    return {
        "folder": str(checkpoint.folder),
        "bytes": sum(path.stat().st_size for path in checkpoint.folder.rglob("*") if path.is_file()),
        "gslrm": checkpoint.gslrm.name,
        "latents": config.get("sample_size"),
    }


def _matting() -> dict[str, str]:
    """What each way to remove a background would be on this machine for a photo without transparency."""
    from PIL import Image

    from ..align.matting import METHODS, Photo, choose_method

    photo = Photo(Image.new("RGB", (64, 64)), "photo")
    found = {}
    for method in METHODS:
        if method != "alpha":  # depends on the photo alone
            try:
                chosen = choose_method(photo, method)
                found[method] = "available" if chosen == method else chosen
            except FaceLiftError as error:
                found[method] = str(error)
    return found


def _lines(found: dict[str, Any]) -> list[str]:
    def bytes_text(count: int) -> str:
        return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"

    def text(value: Any) -> str:
        if not isinstance(value, dict):
            return str(value)
        return ", ".join(
            f"{key} {bytes_text(item) if key in ('bytes', 'free', 'total', 'available') else text(item)}"
            for key, item in value.items()
        )

    lines = [f"FaceLift {found['facelift']}, Python {found['python']} ({found['executable']}), {found['system']}"]
    installed = {name: version for name, version in found["packages"].items() if version}
    missing = [name for name, version in found["packages"].items() if not version]
    lines += [f"packages: {text(installed)}", f"not installed: {', '.join(missing) or 'nothing'}"]
    lines += [f"memory: {text(found['memory'])}"]
    for section in ("devices", "weights", "matting"):
        lines += [f"{section}:"] + [f"  {name}: {text(value)}" for name, value in found[section].items()]
    return lines
