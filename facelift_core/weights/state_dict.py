"""Reading weights that may be damaged, half downloaded or hostile, and putting them into modules strictly.

Nothing here can execute code from a file: safetensors hold numbers only, and torch's own files are read by its
weights-only unpickler.
"""

from __future__ import annotations

import json
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..errors import FaceLiftError
from ..files import replacing

NAMES_IN_MESSAGE = 3
SAFETENSORS_HEADER_MAX = 100_000_000


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file or a torch checkpoint, on the CPU and memory-mapped.

    The kind is told from the content, not from the suffix. A training checkpoint gives its ``"model"`` entry.

    Raises:
        FaceLiftError: the file is missing, cut short, something else, or would run code.
    """
    path = Path(path)
    if _is_torch_file(path):
        return _load_torch(path)
    if problem := _safetensors_problem(path):
        raise FaceLiftError(f"{path} {problem}.")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise FaceLiftError(f"{path} is damaged ({_first_line(error)}); download it again.") from None


def load_into(module: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Make `weights` the parameters of `module`, which may be on the meta device; names and shapes must agree.

    The tensors are taken over as they are, without a copy; use ``module.to`` for another device or number format.

    Args:
        source: file the weights are from, for messages.

    Raises:
        FaceLiftError: names are missing or unknown, or shapes differ.
    """
    expected = module.state_dict()
    if missing := [name for name in expected if name not in weights]:
        raise FaceLiftError(
            f"{source} lacks {len(missing)} of {len(expected)} weights ({_some(missing)}); "
            "it belongs to another model or to another config.json."
        )
    if unknown := [name for name in weights if name not in expected]:
        raise FaceLiftError(
            f"{source} has {len(unknown)} weights that the model does not ({_some(unknown)}); "
            "it belongs to another model or to another config.json."
        )
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise FaceLiftError(
                f"{source}: {name} has shape {tuple(weights[name].shape)} where the model needs "
                f"{tuple(tensor.shape)}; it belongs to another model or to another config.json."
            )
        if weights[name].is_floating_point() != tensor.is_floating_point():
            raise FaceLiftError(f"{source}: {name} holds {weights[name].dtype}, which cannot be a weight of the model.")
    module.load_state_dict(weights, assign=True)


def load_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        FaceLiftError: the file is missing or not a JSON object.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FaceLiftError(f"{path} is missing.") from None
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise FaceLiftError(f"{path} is not valid JSON ({_first_line(error)}); download it again.") from None
    if not isinstance(content, dict):
        raise FaceLiftError(f"{path} should hold a JSON object, not a {type(content).__name__}.")
    return content


def save_safetensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file that appears whole or not at all.

    Raises:
        FaceLiftError: it cannot be written there.
    """
    with replacing(path) as temporary:
        # Not save_file: it makes files that only their owner may read.
        temporary.write_bytes(
            save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, dict(metadata))
        )


def _is_torch_file(path: Path) -> bool:
    """Tell a torch checkpoint (zip, or pickle of old) from what should be a safetensors file.

    Raises:
        FaceLiftError: the file cannot be read, or is plainly no weights at all.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise FaceLiftError(f"{path} is missing.") from None
    except IsADirectoryError:
        raise FaceLiftError(f"{path} is a folder, not a file of weights.") from None
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror}.") from None
    if not head:
        raise FaceLiftError(f"{path} is empty; download it again.")
    if head.startswith(b"version https://git-lfs"):
        raise FaceLiftError(
            f"{path} is a Git LFS pointer, not the weights themselves; run “git lfs pull”, or download it."
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise FaceLiftError(f"{path} is a web page saved under the name of the weights; download the file itself.")
    # A safetensors header may have a length whose first byte is that of a pickle.
    frame = head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_HEADER_MAX
    return not frame and head.startswith((b"PK\x03\x04", b"\x80"))


def _load_torch(path: Path) -> dict[str, Tensor]:
    try:
        content = _torch_load(path)
    except UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "WeightsUnpickler" in str(error):
            raise FaceLiftError(
                f"{path} holds Python objects beside weights, which could run code, and was refused; "
                "use the file as its authors published it."
            ) from None
        raise FaceLiftError(f"{path} is damaged ({_first_line(error)}); download it again.") from None
    except Exception:  # a damaged archive can make torch's reader raise nearly anything, at length
        raise FaceLiftError(f"{path} is damaged or incomplete; download it again.") from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content or not all(_is_weight(k, v) for k, v in content.items()):
        raise FaceLiftError(f"{path} is not a checkpoint: it holds no state dict.")
    return dict(content)


def _torch_load(path: Path) -> Any:
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # about pickle protocols, before it refuses or reads the file
        # torch hands what is named .safetensors to safetensors, and maps only what it opens by name itself.
        if zipfile.is_zipfile(path) and path.suffix != ".safetensors":
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return torch.load(file, map_location="cpu", weights_only=True)


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided


def _safetensors_problem(path: Path) -> str | None:
    """What is wrong with the frame of a safetensors file (length of header, header, data), or None."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            return "is too short to hold weights; download it again"
        (length,) = struct.unpack("<Q", prefix)
        if length > SAFETENSORS_HEADER_MAX or file.read(1) != b"{":
            return "is neither a safetensors file nor a torch checkpoint"
        if 8 + length > size:
            return "is incomplete: it ends within its header; download it again"
        file.seek(8)
        header = file.read(length)
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return "is damaged: its header makes no sense; download it again"
    if size < end:
        return f"is incomplete: {size:,} of {end:,} bytes are there; download it again"
    return None if tensors else "holds no weights"


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES_IN_MESSAGE]) + (", …" if len(names) > NAMES_IN_MESSAGE else "")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
