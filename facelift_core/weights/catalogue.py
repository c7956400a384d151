"""The catalogue of the released weights: files, checksums and license, from ``released.json`` or a similar file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .. import bounded_json
from ..errors import FaceLiftError

VARIABLE = "FACELIFT_CATALOGUE"
"""Environment variable with the path of another catalogue, for example for your own weights on a mirror."""
LICENCE_FILE = "LICENSE"
PIPELINE = "mvdiffusion/pipeckpts"
PROMPT_PARTS = (f"{PIPELINE}/text_encoder/", f"{PIPELINE}/tokenizer/")
"""Needed only once, to embed the prompts."""
PROMPT_EMBEDS = f"{PIPELINE}/prompt_embeds.safetensors"


@dataclass(frozen=True)
class Catalogue:
    """One set of weights on the hub.

    Attributes:
        name: the name used with ``--weights``.
        title: display name.
        repository, revision: location on the hub; the revision is a commit hash.
        licence: name of the license.
        licence_summary: the license in one sentence.
        files: path in the repository → SHA-256 in hexadecimal, or None for small files without a published checksum.
        download_bytes, converted_bytes: sizes shown to the user before the download.
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
        """URL of the page to read about these weights and to download them manually."""
        return f"https://huggingface.co/{self.repository}/tree/{self.revision}"


def converted_name(path: str) -> str | None:
    """Return the name of a released file after the conversion, or None if it is no longer needed then."""
    if path.startswith(PROMPT_PARTS):
        return None
    return f"{path.removesuffix('.pt')}.safetensors" if path.endswith(".pt") else path


def converted_files(catalogue: Catalogue) -> list[str]:
    """Return the names of all files that a conversion creates, except its manifest."""
    return [*(name for path in catalogue.files if (name := converted_name(path))), PROMPT_EMBEDS]


def load_catalogue(path: str | Path | None = None) -> Catalogue:
    """Load the catalogue at `path`, else the one named by FACELIFT_CATALOGUE, else that of the released weights.

    Raises:
        FaceLiftError: the file cannot be read or is not a catalogue.
    """
    path = Path(path or os.environ.get(VARIABLE) or Path(__file__).with_name("released.json"))
    try:
        catalogue = Catalogue(**bounded_json.read(path))
    except OSError as error:
        raise FaceLiftError(f"Cannot read the catalogue {path}: {error.strerror}.") from None
    except (ValueError, TypeError) as error:
        raise FaceLiftError(f"{path} is not a catalogue of weights: {str(error).splitlines()[0]}.") from None
    if problem := _problem(catalogue):
        raise FaceLiftError(f"{path} is not a catalogue of weights: {problem}.")
    return catalogue


def _problem(catalogue: Catalogue) -> str | None:
    """Return why the values are invalid, or None. In particular, paths must not leave their folder."""
    texts = ("name", "title", "repository", "revision", "licence", "licence_summary")
    if wrong := [name for name in texts if not isinstance(getattr(catalogue, name), str)]:
        return f"{wrong[0]} must be a string"
    if not re.fullmatch(r"[\w-]+", catalogue.name) or not re.fullmatch(r"\w+", catalogue.revision):
        return "name and revision must be usable as a folder name"
    if not isinstance(catalogue.files, dict) or not all(map(_is_file, catalogue.files.items())):
        return "files must map each relative path to its SHA-256 or null"
    if LICENCE_FILE not in catalogue.files:
        return f"files must include {LICENCE_FILE}"
    if not all(isinstance(size, int) for size in (catalogue.download_bytes, catalogue.converted_bytes)):
        return "sizes must be whole numbers of bytes"
    return None


def _is_file(entry: tuple[Any, Any]) -> bool:
    path, checksum = entry
    inside = not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts and "\\" not in path
    return inside and (checksum is None or bool(re.fullmatch(r"[0-9a-f]{64}", str(checksum))))
