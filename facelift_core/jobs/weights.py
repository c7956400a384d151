"""Job: download, import, convert, verify or remove the released weights.

Steps import their modules when they run, because Blender imports this module at startup, for :class:`Request` only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FaceLiftError
from ..processes.protocol import Emit, Progress
from ..progress import Cancel, Monitor, ProgressCallback
from ..user_dirs import expanded
from ..weights import licence
from ..weights.inventory import remove, remove_originals, status
from ..weights.store import Store, alone, open_store, size_text

DOWNLOADED = 0.85
"""Share of the download in the total progress; the rest is the conversion."""
IMPORTED = 0.4
STEPS = ("licence", "download", "import", "convert", "verify", "remove")
PROBLEMS_TOLD = 3


@dataclass(frozen=True)
class Request:
    """Request for a step with the released weights.

    Attributes:
        do: one of :data:`STEPS`; "licence" only gets the text of the license.
        folder: folder of the store; empty for the default.
        source: folder or zip to import, or to take the license from; empty to use the hub.
        remove_original: remove the originals after the conversion; for "remove", remove only the originals.
    """

    do: str
    folder: str = ""
    source: str = ""
    remove_original: bool = False

    def __post_init__(self) -> None:
        if self.do not in STEPS:
            raise FaceLiftError("This version of FaceLift does not understand the request.")


def handle(request: Request, emit: Emit, cancelled: Cancel, models: Any = None) -> dict[str, Any]:
    """Call :func:`run` with the store of the request; the result is {"message": its return value}."""
    store = open_store(request.folder or None)
    return {"message": run(store, request, lambda *progress: emit(Progress(*progress)), cancelled)}


def run(
    store: Store, request: Request, progress: ProgressCallback | None = None, cancelled: Cancel | None = None
) -> str:
    """Run a step. If it is interrupted, running the same request again resumes it.

    Returns:
        One sentence that describes the result.

    Raises:
        FaceLiftError: the step failed, or "verify" found damaged files.
        Cancelled: `cancelled` returned true.
    """
    with alone(store):
        return _STEPS[request.do](store, request, lambda stage, *span: Monitor(stage, progress, cancelled, *span))


Span = Callable[..., Monitor]


def _licence(store: Store, request: Request, span: Span) -> str:
    if request.source:
        from ..weights.import_files import read_licence

        read_licence(store, Path(request.source))
    else:
        from ..weights.download import fetch_licence

        fetch_licence(store, span("licence"))
    return f"The {store.catalogue.licence} is in {store.licence_file}."


def _download(store: Store, request: Request, span: Span) -> str:
    licence.require(store)
    if not status(store).converted:
        from ..weights.download import download

        download(store, span("download", 0.0, DOWNLOADED), also_needed=store.catalogue.converted_bytes)
    return _convert(store, request, lambda stage: span(stage, DOWNLOADED, 1.0))


def _import(store: Store, request: Request, span: Span) -> str:
    from ..weights.import_files import find_folder, unpack

    licence.require(store)
    source = expanded(request.source)
    if source.is_dir():
        return _convert(store, Request("convert"), span, find_folder(store.catalogue, source))
    also_needed = store.catalogue.converted_bytes
    unpack(store, source, span("import", 0.0, IMPORTED), also_needed)
    # The unpacked files are needed only for the conversion; the user still has the zip.
    unpacked = Request("convert", remove_original=True)
    return _convert(store, unpacked, lambda stage: span(stage, IMPORTED, 1.0))


def _convert(store: Store, request: Request, span: Span, source: Path | None = None) -> str:
    if request.do == "convert" or not status(store).converted:
        from ..multiview.prompts import embed_prompts
        from ..weights.convert import convert

        convert(store, span("convert"), embed_prompts, source)
    freed = remove_originals(store) if request.remove_original else 0
    size = size_text(status(store).converted_bytes)
    ending = f"; the originals were removed ({size_text(freed)} freed)." if freed else "."
    return f"The weights “{store.catalogue.name}” are ready: {size} in {store.converted}{ending}"


def _verify(store: Store, request: Request, span: Span) -> str:
    from ..weights.verify import verify

    problems = verify(store, span("verify"))
    if problems:
        more = f" (and {len(problems) - PROBLEMS_TOLD} more)" if len(problems) > PROBLEMS_TOLD else ""
        raise FaceLiftError(" ".join(problems[:PROBLEMS_TOLD]) + more)
    return f"The weights in {store.folder} are complete and unchanged."


def _remove(store: Store, request: Request, span: Span) -> str:
    freed, left = remove(store, converted=not request.remove_original)
    stays = f"; {left[0]} was kept because it contains other files" if left else ""
    return f"The weights were removed ({size_text(freed)} freed){stays}."


_STEPS = {
    "licence": _licence,
    "download": _download,
    "import": _import,
    "convert": _convert,
    "verify": _verify,
    "remove": _remove,
}
