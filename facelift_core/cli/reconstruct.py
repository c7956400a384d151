"""``facelift reconstruct``: reconstruct heads from one or more photos."""

from __future__ import annotations

import argparse
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..diagnostics import quiet_libraries
from ..errors import FaceLiftError
from ..files import target_of
from ..likeness import LIKENESS
from ..presets import PRESETS
from .console import say
from .options import UsageError, device, matching, number, whole_number

HEAD_SUFFIX = ".ply"
"""Suffix of heads in a folder, and of unfiltered heads."""
MATTINGS = ("auto", "alpha", "rembg", "segmentation", "none")
"""Same as :data:`facelift_core.align.METHODS`, whose import would make --help slow."""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
VIDEO_SUFFIXES = (".mp4",)

EPILOG = """\
With several photos, OUT must be a folder. Each photo is written to OUT/<photo>.ply and, on request, to
<photo>_views.png, <photo>.mp4 and <photo>_raw.ply beside it, with the suffixes of the given FILEs. If a photo fails,
the others continue and the exit code is 1. Photos whose files already exist in OUT are skipped, so run the same
command again to resume."""


@dataclass(frozen=True)
class PhotoTask:
    """One photo and the files to write for it."""

    photo: Path
    head: Path
    views: Path | None
    turntable: Path | None
    raw: Path | None

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.head, self.views, self.turntable, self.raw) if path is not None]


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "reconstruct",
        help="reconstruct 3D heads from portrait photos",
        description="Reconstruct a 3D head of Gaussians from each portrait photo.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("photos", metavar="PHOTO", nargs="+", type=Path, help="portrait photo")
    parser.add_argument(
        "-o", "--output", metavar="OUT", required=True, help=".ply or other file, or a folder (created if missing)"
    )
    parser.add_argument(
        "--weights",
        metavar="mini|released|FOLDER",
        default="mini",
        help="mini (built in, the default), released (see “facelift weights”), or a folder",
    )
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), default="quality", help="quality or speed (default %(default)s)"
    )
    parser.add_argument("--steps", type=whole_number(1, 1000), help="diffusion steps (default: the preset's)")
    parser.add_argument(
        "--guidance",
        type=number(0),
        metavar="SCALE",
        help="how closely the views follow the photo (default: best for the weights, 3 for released, 2 for mini); 1 "
        "disables guidance and takes half the time",
    )
    parser.add_argument(
        "--likeness",
        choices=LIKENESS,
        default="photo",
        help="off: as published, from the six views alone; photo: the front uses the photo's own pixels (default); "
        "refined: like photo, then fitted to the photo, which takes up to a minute longer on a CPU",
    )
    parser.add_argument("--seed", type=whole_number(0, 2**63 - 1), default=4, help="random seed (default 4)")
    parser.add_argument("--device", type=device, default="auto", help="auto (default), cuda, cuda:1, mps or cpu")
    parser.add_argument("--no-crop", action="store_true", help="the photo is already aligned: skip face detection")
    parser.add_argument("--matting", choices=MATTINGS, default="auto", help="background removal method (default auto)")
    parser.add_argument(
        "--views", metavar="FILE", type=Path, help="also write an image (such as .png) of the six views"
    )
    parser.add_argument("--turntable", metavar="FILE.mp4", type=Path, help="also write a turntable video")
    parser.add_argument(
        "--raw", action="store_true", help="also write the Gaussians before filtering, as <OUT>_raw.ply"
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="if OUT is a folder, also reconstruct photos whose files already exist",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    tasks = plan(matching(options.photos), options.output, options.views, options.turntable, options.raw)
    possible = [task for task in tasks if _can_be_named(task)]
    failed = len(tasks) - len(possible)
    if _names_folder(options.output) and not options.overwrite:
        possible = list(_not_done(possible))
    present = [task for task in possible if _is_there(task.photo)]
    failed += len(possible) - len(present)
    total = failed + len(present)
    if present:
        quiet_libraries()
        from .batch import reconstruct_all

        with _folders(present):
            failed += reconstruct_all(present, options)
    if total > 1:
        say(f"{total - failed} of {total} photos reconstructed." if failed else f"All {total} photos reconstructed.")
    return 1 if failed else 0


def _can_be_named(task: PhotoTask) -> bool:
    """Return whether the system accepts all names of `task`, and say if it does not."""
    for path in (task.photo, *task.outputs):
        # Where the folder is missing, the system would complain of that before it looks at the name.
        folder = next((folder for folder in path.absolute().parents if folder.is_dir()), path.parent)
        try:
            os.lstat(folder / path.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                continue
            say(f"{task.photo}: The name {path.name[:20]}… is too long for this disk; rename the photo.")
            return False
    return True


def plan(
    photos: Sequence[Path], output: str, views: Path | None = None, turntable: Path | None = None, raw: bool = False
) -> list[PhotoTask]:
    """Plan which files to write for each photo. No two photos get the same file names.

    Raises:
        UsageError: OUT, --views or --turntable is invalid or would overwrite one of the photos.
    """
    _check_suffix("--views", views, PICTURE_SUFFIXES)
    _check_suffix("--turntable", turntable, VIDEO_SUFFIXES)
    if _names_folder(output):
        tasks = list(_jobs_in_folder(photos, Path(output), views, turntable, raw))
    else:
        from ..gaussians.files import format_of

        head = Path(output)
        raw_head = head.with_name(f"{head.name[: -len(format_of(head).suffix)]}_raw{HEAD_SUFFIX}")
        if len(photos) > 1:
            raise UsageError(f"{len(photos)} photos cannot all be written to {head}; give a folder as OUT.")
        tasks = [PhotoTask(photos[0], head, views, turntable, raw_head if raw else None)]
    inputs = {_identity(photo): photo for photo in photos}
    taken: set[str] = set()
    for task in tasks:
        for path in task.outputs:
            if _identity(path) in inputs:
                raise UsageError(f"{path} is one of the photos and would be overwritten; choose another OUT.")
            if _identity(path) in taken:
                raise UsageError(f"{path} would be written twice; give each output its own name.")
            taken.add(_identity(path))
    return tasks


def _not_done(tasks: Sequence[PhotoTask]) -> Iterator[PhotoTask]:
    """Skip photos whose files exist. Files are written atomically, so existing files are complete."""
    for task in tasks:
        if all(path.is_file() for path in task.outputs):
            say(f"{task.photo}: skipped because {task.head} exists (--overwrite replaces it).")
        else:
            yield task


def _jobs_in_folder(
    photos: Sequence[Path], folder: Path, views: Path | None, turntable: Path | None, raw: bool
) -> Iterator[PhotoTask]:
    taken: set[str] = set()
    for photo in photos:
        number = 1
        while True:
            stem = photo.stem if number == 1 else f"{photo.stem}-{number}"
            task = PhotoTask(
                photo,
                folder / f"{stem}{HEAD_SUFFIX}",
                views and (folder / f"{stem}_views{views.suffix}" if len(photos) > 1 else views),
                turntable and (folder / f"{stem}{turntable.suffix}" if len(photos) > 1 else turntable),
                folder / f"{stem}_raw{HEAD_SUFFIX}" if raw else None,
            )
            names = {_identity(path) for path in task.outputs}
            if len(photos) == 1 or not names & taken:
                break
            number += 1
        taken |= names
        yield task


def _is_there(photo: Path) -> bool:
    if not photo.exists():
        say(f"{photo}: The file does not exist.")
    return photo.exists()


def _names_folder(output: str) -> bool:
    path = Path(output)
    if output.endswith(("/", "\\")) or path.is_dir():
        return True
    from ..gaussians.files import FORMATS, SUFFIXES  # needs NumPy, which a Python without the runtime may lack

    if path.name.lower().endswith(tuple(entry.suffix for entry in FORMATS)):
        return False
    if path.suffix and not path.suffix[1:].isdigit():
        raise UsageError(
            f"Cannot write “{path.suffix}” files ({output}); OUT must end with {', '.join(SUFFIXES)}, or with “/” for "
            "a folder."
        )
    return True


def _check_suffix(option: str, path: Path | None, suffixes: Iterable[str]) -> None:
    if path is not None and path.suffix.lower() not in suffixes:
        raise UsageError(f"{option} {path}: the name must end with {' or '.join(suffixes)}.")


def _identity(path: Path) -> str:
    """Return a key that is equal for paths of the same file, also on case-insensitive file systems."""
    return os.path.realpath(path).casefold()


@contextmanager
def _folders(tasks: Sequence[PhotoTask]) -> Iterator[None]:
    """Context manager that creates output folders, checks that they are writable, and removes empty ones afterwards.

    Raises:
        FaceLiftError: a folder is missing or not writable, or an output path is a folder.
    """
    created = [folder for folder in {task.head.parent for task in tasks} if not folder.exists()]
    outputs = [path for task in tasks for path in task.outputs]
    try:
        try:
            for folder in created:
                folder.mkdir(parents=True, exist_ok=True)
            for folder in {path.parent for path in outputs}:
                tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise FaceLiftError(f"Cannot write to {folder}: {error.strerror}.") from None
        for path in outputs:
            if target_of(path).is_dir():
                raise FaceLiftError(f"Cannot write {path}: it is a folder.")
        yield
    finally:
        for folder in created:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
