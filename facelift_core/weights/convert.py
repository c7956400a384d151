"""Convert the released weights to safetensors in half precision and embed the prompts (docs/model.md, 1, 3.2, 4.9).

On a GPU, which computes in half precision anyway, the converted weights give the same numbers as the originals. What
is computed in float32 stays in float32: GS-LRM's layers around its transformer, the statistics of the CLIP embedding,
and the prompt embeddings.

Each file is written atomically to ``store.converting``, and the folder is renamed at the end. If the process is killed,
the previous state remains, and the next conversion resumes after the last complete file.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__, bounded_json
from ..errors import FaceLiftError
from ..files import put, replacing
from ..progress import Monitor
from . import licence
from .byte_progress import ByteProgress
from .catalogue import LICENCE_FILE, PIPELINE, PROMPT_EMBEDS, converted_name
from .inventory import remove_made
from .layout import find_checkpoint
from .state_dict import load_state_dict
from .store import MANIFEST, PART, STAGES, Store, check_space, make_folder, missing_of, read_manifest, size_of, writing
from .verify import changed, check_original, checksums, note_checksums, note_seen, stamp

FORMAT = 2
"""Format version of the conversion. An interrupted conversion of another version starts over."""
LOSS = "loss_calculator."
"""Prefix of weights in a GS-LRM training checkpoint that only the loss uses."""
SAFETENSORS_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def convert(
    store: Store, monitor: Monitor, embed_prompts: Callable[[Path], Tensor], source: Path | None = None
) -> Path:
    """Convert the originals to ``store.converted``, unless that is complete already.

    Args:
        store: the store to convert in.
        monitor: receives progress.
        embed_prompts: computes the prompt embeddings, given the folder of a pipeline.
        source: folder with the released layout; defaults to the originals in the store. It is not changed.

    Returns:
        ``store.converted``.

    Raises:
        FaceLiftError: the license is not accepted, originals are missing or damaged, disk space is low, or a value
            does not fit half precision.
        Cancelled: the run was cancelled. The next call resumes after the last complete file.
    """
    licence.require(store)
    manifest = read_manifest(store.converted)
    if manifest is not None and not missing_of(store.converted, manifest):
        checking = ByteProgress(monitor, "Verifying", sum(entry["bytes"] for entry in manifest["files"].values()))
        if not changed(store.converted, manifest["files"], checking):
            note_seen(store)
            return store.converted
    source = source or store.original
    if missing := [path for path in store.catalogue.files if not (source / path).is_file()]:
        raise FaceLiftError(
            f"{missing[0]} is missing in {source} ({len(missing)} missing in all); finish the download first."
        )
    find_checkpoint(source)
    stamps = {path: stamp(source / path) for path in store.catalogue.files}
    work = _Work.resume(store, _verified(store, source, monitor))
    check_space(store.folder, store.catalogue.converted_bytes - work.bytes, "The conversion")
    transfer = ByteProgress(monitor, "Converting", sum(size_of(source / path) for path in store.catalogue.files))
    for path in store.catalogue.files:
        transfer.advance()
        size, name = size_of(source / path), converted_name(path)
        if name is not None and not work.has(name):
            begun = transfer.done
            work.make(name, lambda file, path=path: _convert_file(source / path, path, file, transfer))
            transfer.restart(begun)
        transfer.advance(size)
    if not work.has(PROMPT_EMBEDS):
        monitor(1.0, "Embedding the prompts")
        embeds = {"prompt_embeds": embed_prompts(source / PIPELINE)}
        work.make(PROMPT_EMBEDS, lambda file: write_safetensors(file, embeds, _as_it_is, transfer))
    if moved := [path for path, before in stamps.items() if stamp(source / path) != before]:
        remove_made(store, store.converting)
        raise FaceLiftError(f"{source / moved[0]} has changed while it was being converted; convert it again.")
    return work.finish()


def _verified(store: Store, source: Path, monitor: Monitor) -> dict[str, str]:
    """Return the SHA-256 of each original.

    Raises:
        FaceLiftError: one has another checksum than it should have, or another license than the accepted one.
        Cancelled: the run was cancelled.
    """
    known, found = checksums(store), {}
    total = sum(size_of(source / path) for path in store.catalogue.files)
    checking = ByteProgress(replace(monitor, end=monitor.start), "Verifying", total)
    for path in store.catalogue.files:
        found[path], problem = check_original(path, source / path, known[path], checking)
        if problem:
            raise FaceLiftError(f"{source / path} {problem}; download it again.")
    if found[LICENCE_FILE] != licence.text_checksum(store):
        raise FaceLiftError(
            f"{source / LICENCE_FILE} is another license than the one you accepted; download the weights again."
        )
    note_checksums(store, found)
    return found


@dataclass
class _Work:
    """A conversion in progress: its folder and its complete files."""

    store: Store
    origin: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @classmethod
    def resume(cls, store: Store, originals: dict[str, str]) -> _Work:
        """Resume an interrupted conversion of originals with the same checksums, or start over."""
        origin = {"format": FORMAT, "revision": store.catalogue.revision, "originals": originals}
        try:
            stages = bounded_json.read(store.converting / STAGES)
            if stages["origin"] == origin:
                files = dict(stages["files"])
                whole = {n: e for n, e in files.items() if size_of(store.converting / n) == e["bytes"]}
                return cls(store, origin, whole)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        remove_made(store, store.converting)
        return cls(store, origin, {})

    @property
    def bytes(self) -> int:
        return sum(entry["bytes"] for entry in self.files.values())

    def has(self, name: str) -> bool:
        return name in self.files

    def make(self, name: str, write: Callable[[_HashingFile], None]) -> None:
        """Write the file `name` with `write`, and record it once it is on the disk."""
        path = self.store.converting / name
        part = path.with_name(path.name + PART)
        make_folder(path.parent)
        try:
            with writing(path):
                with part.open("wb") as raw:
                    file = _HashingFile(raw)
                    write(file)
                put(part, path)
        finally:
            part.unlink(missing_ok=True)
        self.files[name] = {"sha256": file.digest.hexdigest(), "bytes": file.size}
        self._note(STAGES, {"origin": self.origin, "files": self.files})

    def finish(self) -> Path:
        """Rename the folder to its final name, replacing a damaged conversion of that name."""
        store = self.store
        self._note(
            MANIFEST,
            {
                "name": store.catalogue.name,
                "repository": store.catalogue.repository,
                "revision": store.catalogue.revision,
                "converted": datetime.now(UTC).isoformat(timespec="seconds"),
                "by": f"facelift {__version__}",
                "originals": self.origin["originals"],
                "files": self.files,
            },
        )
        with writing(store.converted):
            if store.converted.exists():
                remove_made(store, store.set_aside)
                os.rename(store.converted, store.set_aside)
            os.rename(store.converting, store.converted)
        (store.converted / STAGES).unlink(missing_ok=True)
        remove_made(store, store.set_aside)
        note_seen(store)
        return store.converted

    def _note(self, name: str, content: Mapping[str, Any]) -> None:
        with replacing(self.store.converting / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


class _HashingFile:
    """Writes to a file and computes the size and checksum of what it writes."""

    def __init__(self, raw):
        self.raw, self.size, self.digest = raw, 0, hashlib.sha256()

    def write(self, block: bytes | memoryview) -> None:
        self.raw.write(block)
        self.digest.update(block)
        self.size += len(block)


def _convert_file(source: Path, path: str, file: _HashingFile, transfer: ByteProgress) -> None:
    if source.suffix not in (".pt", ".safetensors"):
        file.write(source.read_bytes())
        return
    tensors = {name: tensor for name, tensor in load_state_dict(source).items() if not name.startswith(LOSS)}
    write_safetensors(file, tensors, lambda name, tensor: _halved(name, tensor, path), transfer)


def write_safetensors(
    file: _HashingFile, tensors: Mapping[str, Tensor], change: Callable[[str, Tensor], Tensor], transfer: ByteProgress
) -> None:
    """Write `tensors` as a safetensors file, applying `change` to one tensor at a time to keep memory low.

    Args:
        file: the file to write to.
        tensors: the tensors by name.
        change: returns the tensor to write, given name and tensor. It must keep the shape, and the dtype of its result
            must depend only on the name and the dtype.
        transfer: advanced by the bytes of `tensors`.
    """
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    # Widest dtype first, as safetensors' own writer does, so that every tensor is aligned.
    changed = {name: change(name, torch.empty(0, dtype=tensor.dtype)).dtype for name, tensor in tensors.items()}
    order = sorted(tensors, key=lambda name: (-changed[name].itemsize, name))
    for name in order:
        end = offset + tensors[name].numel() * changed[name].itemsize
        header[name] = {
            "dtype": SAFETENSORS_NAMES[changed[name]],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for name in order:
        tensor = change(name, tensors[name]).detach().contiguous()
        file.write(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))
        transfer.advance(tensors[name].numel() * tensors[name].dtype.itemsize)


def _halved(name: str, tensor: Tensor, path: str) -> Tensor:
    """Convert a tensor to float16 if it is computed in half precision; the rest stays in float32 (docs/model.md, 4.9).

    Raises:
        FaceLiftError: a value is too large for float16.
    """
    if not tensor.is_floating_point() or _stays(name, path):
        return tensor
    half = tensor.half()
    if half.numel() and not half.isfinite().all():
        raise FaceLiftError(f"{name} in {path} is damaged or does not fit half precision; use the originals.")
    return half


def _stays(name: str, path: str) -> bool:
    if path.startswith("gslrm/"):
        return not name.startswith("transformer_layers.")
    return "/image_normalizer/" in path


def _as_it_is(_: str, tensor: Tensor) -> Tensor:
    return tensor
