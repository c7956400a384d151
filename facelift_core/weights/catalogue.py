"""What belongs to the released weights: plain data, in ``released.json`` or another file of that form."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import FaceLiftError

VARIABLE = "FACELIFT_CATALOGUE"
"""Environment variable that names another catalogue, for example of a mirror with weights of one's own."""
LICENCE_FILE = "LICENSE"
PIPELINE = "mvdiffusion/pipeckpts"
PROMPT_PARTS = (f"{PIPELINE}/text_encoder/", f"{PIPELINE}/tokenizer/")
"""Needed once, to embed the prompts."""
PROMPT_EMBEDS = f"{PIPELINE}/prompt_embeds.safetensors"


@dataclass(frozen=True)
class Catalogue:
    """One set of weights on the hub.

    Attributes:
        name: what ``--weights`` calls them.
        title: for people.
        repository, revision: on the hub; the revision is a commit.
        licence: its name.
        licence_summary: in one sentence.
        files: path in the repository → SHA-256 in hexadecimal, or None for small files that have none published.
        download_bytes, converted_bytes: sizes to tell people before anything is fetched.
    """

    name: str
    title: str
    repository: str
    revision: str
    licence: str
    licence_summary: str
    files: dict[str, str | None]
    download_bytes: int
    converted_bytes: int

    @property
    def page(self) -> str:
        """Where a person can read about these weights and download them by hand."""
        return f"https://huggingface.co/{self.repository}/tree/{self.revision}"


def converted_name(path: str) -> str | None:
    """What a file of the release becomes in the conversion; None if it is of no use after it."""
    if path.startswith(PROMPT_PARTS):
        return None
    return f"{path.removesuffix('.pt')}.safetensors" if path.endswith(".pt") else path


def converted_files(catalogue: Catalogue) -> list[str]:
    """Everything that a conversion makes, apart from its manifest."""
    return [*(name for path in catalogue.files if (name := converted_name(path))), PROMPT_EMBEDS]


def load_catalogue(path: str | Path | None = None) -> Catalogue:
    """The catalogue at `path`, else the one that FACELIFT_CATALOGUE names, else of the released weights.

    Raises:
        FaceLiftError: there is no such file, or it is not a catalogue.
    """
    path = Path(path or os.environ.get(VARIABLE) or Path(__file__).with_name("released.json"))
    try:
        catalogue = Catalogue(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise FaceLiftError(f"Cannot read the catalogue {path}: {error.strerror}.") from None
    except (ValueError, TypeError) as error:
        raise FaceLiftError(f"{path} is not a catalogue of weights: {str(error).splitlines()[0]}.") from None
    if problem := _problem(catalogue):
        raise FaceLiftError(f"{path} is not a catalogue of weights: {problem}.")
    return catalogue


def _problem(catalogue: Catalogue) -> str | None:
    """Why the values cannot be meant so; paths must stay inside the folder they are for."""
    texts = ("name", "title", "repository", "revision", "licence", "licence_summary")
    if wrong := [name for name in texts if not isinstance(getattr(catalogue, name), str)]:
        return f"{wrong[0]} should be a text"
    if not re.fullmatch(r"[\w-]+", catalogue.name) or not re.fullmatch(r"\w+", catalogue.revision):
        return "name and revision become the name of a folder"
    if not isinstance(catalogue.files, dict) or not all(map(_is_file, catalogue.files.items())):
        return "files should give each relative path its SHA-256 or null"
    if LICENCE_FILE not in catalogue.files:
        return f"{LICENCE_FILE} is not among its files"
    if not all(isinstance(size, int) for size in (catalogue.download_bytes, catalogue.converted_bytes)):
        return "sizes should be whole numbers of bytes"
    return None


def _is_file(entry: tuple[Any, Any]) -> bool:
    path, checksum = entry
    inside = not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts and "\\" not in path
    return inside and (checksum is None or bool(re.fullmatch(r"[0-9a-f]{64}", str(checksum))))
