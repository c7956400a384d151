"""Embeddings of the six fixed prompts, computed once and cached (docs/model.md, 3.2)."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import FaceLiftError, first_line
from ..files import private_folder
from ..rendering.cameras import VIEW_NAMES
from ..user_dirs import cache_folder
from ..weights.state_dict import load_state_dict, save_safetensors
from ..weights.verify import SMALL_MAX
from .clip import WEIGHTS_FILE, load_clip

PROMPTS = tuple(f"a rendering image of 3D models, {view} view, color map." for view in VIEW_NAMES)
CACHE_FILE = "prompt_embeds.safetensors"
KEY_SAMPLE = 1 << 20
LENGTH_MAX = 1024

log = logging.getLogger(__name__)


def load_prompt_embeds(pipeline: Path) -> Tensor:
    """Load the embeddings of :data:`PROMPTS` from the cache, or compute and cache them.

    The cache file is in the pipeline folder if that is writable, otherwise in the user's cache folder. A checkpoint may
    contain only the cache file, without text encoder and tokenizer.

    Args:
        pipeline: the folder ``mvdiffusion/pipeckpts``.

    Returns:
        (6, L, C) float32; L is 77 for CLIP's text encoder.

    Raises:
        FaceLiftError: there is no valid cache, and the text encoder or the tokenizer is missing or damaged.
    """
    beside = pipeline / CACHE_FILE
    if not (pipeline / "text_encoder" / "config.json").is_file():
        return _read(beside, key=None)
    key = _key(pipeline)
    elsewhere = cache_folder() / f"prompt_embeds_{key}.safetensors"
    for path in (beside, elsewhere):
        if path.is_file():
            try:
                return _read(path, key)
            except FaceLiftError as error:
                log.info("Recomputing prompt embeddings: %s", error)
    embeds = embed_prompts(pipeline)
    for path in (beside, elsewhere):
        try:
            if path is elsewhere:
                private_folder(path.parent)
            save_safetensors({"prompt_embeds": embeds}, path, {"key": key})
        except (OSError, FaceLiftError) as error:
            log.info("Prompt embeddings not cached: %s", error)
        else:
            break
    return embeds


@torch.no_grad()
def embed_prompts(pipeline: Path) -> Tensor:
    """Compute the embeddings of :data:`PROMPTS` with the checkpoint's tokenizer and text encoder."""
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = pipeline / "tokenizer"
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise FaceLiftError(f"{folder / name} is missing; download it again.")
    if large := [path for path in folder.iterdir() if path.stat().st_size > SMALL_MAX]:
        raise FaceLiftError(f"{large[0]} is too large, so this is not the right file; download it again.")
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        length = tokenizer.model_max_length
        if not 1 <= length <= LENGTH_MAX:
            raise FaceLiftError(f"prompts of {length:.6g} tokens are too long")
        tokens = tokenizer(
            list(PROMPTS), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids
    except Exception as error:  # the tokenizer's native code raises bare Exceptions
        reason = first_line(error)
        raise FaceLiftError(f"{folder} is damaged ({reason}); download it again.") from None
    encoder = load_clip(CLIPTextModel, pipeline / "text_encoder")
    if tokens.max() >= encoder.config.vocab_size or tokens.shape[1] > encoder.config.max_position_embeddings:
        raise FaceLiftError(f"The tokenizer and the text encoder in {pipeline} do not match.")
    return encoder(tokens).last_hidden_state


def _read(path: Path, key: str | None) -> Tensor:
    """Read cached embeddings; `key` must match the text encoder that made them, unless it is None."""
    embeds = load_state_dict(path).get("prompt_embeds")
    if embeds is None or embeds.ndim != 3 or len(embeds) != len(PROMPTS) or not embeds.is_floating_point():
        raise FaceLiftError(f"{path} does not contain embeddings of the {len(PROMPTS)} prompts.")
    if not embeds.isfinite().all():
        raise FaceLiftError(f"{path} is damaged: it contains NaN or infinity; download it again.")
    if key is not None:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("key") != key:
                raise FaceLiftError(f"{path} was made by another text encoder.")
    return embeds.float()


def _key(pipeline: Path) -> str:
    """Return a hash of the prompts, the text encoder's configs, and the size, start and end of its weights."""
    digest = hashlib.sha256("\n".join(PROMPTS).encode())
    for name in ("text_encoder/config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"):
        path = pipeline / name
        digest.update(path.read_bytes() if path.is_file() else b"")
    weights = pipeline / "text_encoder" / WEIGHTS_FILE
    if weights.is_file():
        size = weights.stat().st_size
        with weights.open("rb") as file:
            digest.update(str(size).encode() + file.read(KEY_SAMPLE))
            file.seek(max(0, size - KEY_SAMPLE))
            digest.update(file.read())
    return digest.hexdigest()[:32]
