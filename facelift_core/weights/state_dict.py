"""Load weights from files that may be damaged, incomplete or malicious, and assign them to modules strictly.

Loading never executes code from a file: safetensors files hold only numbers, and torch checkpoints are read with
``weights_only=True``.
"""

from __future__ import annotations

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

from .. import bounded_json
from ..errors import FaceLiftError
from ..files import replacing

NAMES_IN_MESSAGE = 3
SAFETENSORS_HEADER_MAX = 16_000_000
"""Ten times the header of the largest network here."""


def load_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Load a state dict from a safetensors file or a torch checkpoint, on the CPU and memory-mapped.

    The format is detected from the content, not from the suffix. Of a training checkpoint, the ``"model"`` entry is
    returned.

    Raises:
        FaceLiftError: the file is missing, incomplete, of another format, or would execute code.
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
    """Assign `weights` to `module`, which may be on the meta device. Names and shapes must match.

    The tensors are assigned without a copy; use ``module.to`` to change device or dtype afterwards.

    Args:
        module: the module to load into.
        weights: tensors by name.
        source: the file that the weights are from, for error messages.

    Raises:
        FaceLiftError: names are missing or unexpected, or shapes differ.
    """
    expected = module.state_dict()
    if missing := [name for name in expected if name not in weights]:
        raise FaceLiftError(
            f"{source} lacks {len(missing)} of {len(expected)} weights ({_some(missing)}); "
            "it belongs to another model or another config.json."
        )
    if unknown := [name for name in weights if name not in expected]:
        raise FaceLiftError(
            f"{source} has {len(unknown)} unexpected weights ({_some(unknown)}); "
            "it belongs to another model or another config.json."
        )
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise FaceLiftError(
                f"{source}: {name} has shape {tuple(weights[name].shape)}, but the model needs "
                f"{tuple(tensor.shape)}; it belongs to another model or another config.json."
            )
        if weights[name].is_floating_point() != tensor.is_floating_point():
            raise FaceLiftError(f"{source}: {name} has dtype {weights[name].dtype}, which the model cannot use.")
    module.load_state_dict(weights, assign=True)


def load_json(path: str | Path) -> dict[str, Any]:
    """Load a JSON object from a file.

    Raises:
        FaceLiftError: the file is missing or does not hold a JSON object.
    """
    path = Path(path)
    try:
        content = bounded_json.read(path)
    except FileNotFoundError:
        raise FaceLiftError(f"{path} is missing.") from None
    except OSError as error:
        raise FaceLiftError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise FaceLiftError(f"{path} is not valid JSON ({_first_line(error)}); download it again.") from None
    if not isinstance(content, dict):
        raise FaceLiftError(f"{path} must hold a JSON object, not a {type(content).__name__}.")
    return content


def save_safetensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically.

    Raises:
        FaceLiftError: the file cannot be written.
    """
    with replacing(path) as temporary:
        # Not save_file, because it creates files that only their owner can read.
        temporary.write_bytes(
            save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, dict(metadata))
        )


def _is_torch_file(path: Path) -> bool:
    """Return whether the file is a torch checkpoint (zip or legacy pickle) rather than a safetensors file.

    Raises:
        FaceLiftError: the file cannot be read, or obviously does not hold weights.
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
            f"{path} is a Git LFS pointer, not the weights themselves; run “git lfs pull”, or download the file."
        )
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise FaceLiftError(f"{path} is a web page, not the weights; download the file itself.")
    # The first byte of a safetensors header length may equal that of a pickle.
    frame = head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= SAFETENSORS_HEADER_MAX
    return not frame and head.startswith((b"PK\x03\x04", b"\x80"))


def _load_torch(path: Path) -> dict[str, Tensor]:
    if _compressed(path):
        raise FaceLiftError(f"{path} is a compressed archive, which no checkpoint is; download it again.")
    try:
        content = _torch_load(path)
    except UnpicklingError as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error) or "WeightsUnpickler" in str(error):
            raise FaceLiftError(
                f"{path} was refused because it holds Python objects that could execute code; "
                "use the file that its authors published."
            ) from None
        raise FaceLiftError(f"{path} is damaged ({_first_line(error)}); download it again.") from None
    except Exception:  # a damaged archive can make torch.load raise almost anything
        raise FaceLiftError(f"{path} is damaged or incomplete; download it again.") from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content or not all(_is_weight(k, v) for k, v in content.items()):
        raise FaceLiftError(f"{path} is not a checkpoint: it does not hold a state dict.")
    return dict(content)


def _torch_load(path: Path) -> Any:
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # warnings about pickle protocols
        # torch.load passes *.safetensors to safetensors, and memory-maps only files that it opens by name.
        if file.read(2) == b"PK" and path.suffix != ".safetensors":
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _compressed(path: Path) -> bool:
    """Return whether the members of a zip take more bytes than the file, or cannot be listed."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception:  # not a zip, or a damaged one, which torch refuses
        return False
    return sum(member.file_size for member in members) > path.stat().st_size


def _is_weight(name: Any, value: Any) -> bool:
    if not (isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided):
        return False
    # A view may claim more numbers than are stored.
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _safetensors_problem(path: Path) -> str | None:
    """Return what is wrong with the structure of a safetensors file (header length, header, data), or None."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            return "is too short to hold weights; download it again"
        (length,) = struct.unpack("<Q", prefix)
        if length > SAFETENSORS_HEADER_MAX or file.read(1) != b"{":
            return "is neither a safetensors file nor a torch checkpoint"
        if 8 + length > size:
            return "is incomplete: it ends inside its header; download it again"
        file.seek(8)
        header = file.read(length)
    try:
        found = bounded_json.parse(header, SAFETENSORS_HEADER_MAX)
        tensors = {name: entry for name, entry in found.items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "is damaged: its header is invalid; download it again"
    if size < end:
        return f"is incomplete: it has {size:,} of {end:,} bytes; download it again"
    return None if tensors else "holds no weights"


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES_IN_MESSAGE]) + (", …" if len(names) > NAMES_IN_MESSAGE else "")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
