"""``facelift weights``: download, import, convert, verify and remove the released weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..diagnostics import quiet_libraries
from ..errors import FaceLiftError
from ..jobs.weights import Request
from ..jobs.weights import run as run_job
from ..user_dirs import check_home
from ..weights import licence
from ..weights.inventory import status
from ..weights.store import Store, open_store, size_text
from .console import progress_bar, say

BAR_WIDTH = 70
DESCRIPTIONS = {
    "list": "list weights and their status",
    "licence": "show the license, accept it, or withdraw the acceptance",
    "download": "download the released weights and convert them",
    "import": "convert released weights that you downloaded manually",
    "convert": "convert downloaded weights (download and import do this automatically)",
    "verify": "verify the checksums of all files",
    "remove": "remove the weights from disk",
}
EPILOG = """\
The released weights belong to their authors and have their own license, which you must read and accept once. Then
use them with “facelift reconstruct --weights released”. Set HF_ENDPOINT to use a mirror of the Hugging Face Hub,
HF_TOKEN to use a token, and HF_HUB_OFFLINE=1 to disable downloads."""


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "weights",
        help="download, import, verify and remove the released weights",
        description="Manage the weights released by the authors of FaceLift.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True)
    for name, description in DESCRIPTIONS.items():
        step = steps.add_parser(name, help=description, description=f"{description.capitalize()}.", allow_abbrev=False)
        step.add_argument("--folder", metavar="FOLDER", help="folder for weights (default: in the user's data folder)")
        step.set_defaults(run=run, step=name, source="", remove_original=False)
        if name in ("download", "import"):
            step.add_argument(
                "--accept-licence", action="store_true", help="confirm that you have read and accept the license"
            )
        if name in ("download", "convert"):
            step.add_argument(
                "--remove-original", action="store_true", help="remove the originals after the conversion"
            )
        if name == "import":
            step.add_argument("source", metavar="FOLDER|ZIP", help="folder with the released files, or a zip of it")
        if name == "remove":
            step.add_argument(
                "--original",
                dest="remove_original",
                action="store_true",
                help="remove only the originals, not the converted weights",
            )
        if name == "licence":
            choice = step.add_mutually_exclusive_group()
            choice.add_argument("--accept", action="store_true", help="confirm that you have read and accept it")
            choice.add_argument("--revoke", action="store_true", help="withdraw the acceptance")


def needs_runtime(options: argparse.Namespace) -> bool:
    """Return whether the step needs packages of the runtime."""
    return options.run is run and options.step in ("licence", "download", "import", "convert")


def run(options: argparse.Namespace) -> int:
    if options.step in ("download", "import") and options.folder is None:
        check_home()
    store = open_store(options.folder)
    if options.step == "list":
        print("\n".join(_listing(store)))
        return 0
    if options.step == "licence":
        return _licence(store, options)
    quiet_libraries(offline=False)  # HF_HUB_OFFLINE stays as the user set it
    if options.step in ("download", "import"):
        _make_sure_of_licence(store, options)
    if options.step == "download" and not status(store).converted:
        catalogue = store.catalogue
        say(
            f"{size_text(catalogue.download_bytes)} to download from {catalogue.repository}, then "
            f"{size_text(catalogue.converted_bytes)} for the converted weights, in {store.folder}"
        )
    request = Request(options.step, source=options.source, remove_original=options.remove_original)
    try:
        with progress_bar("weights", BAR_WIDTH) as progress:
            message = run_job(store, request, progress)
    except KeyboardInterrupt:
        if options.step == "download":
            say("The downloaded files are kept; run the same command again to resume.")
        raise
    print(message)
    return 0


def _licence(store: Store, options: argparse.Namespace) -> int:
    if options.revoke:
        licence.revoke(store)
        print("The acceptance is withdrawn; run “facelift weights remove” to remove the weights.")
        return 0
    _fetch_licence(store)
    if options.accept:
        licence.accept(store)
        print(f"The {store.catalogue.licence} is accepted.")
    else:
        print(licence.text(store))
    return 0


def _make_sure_of_licence(store: Store, options: argparse.Namespace) -> None:
    """Ask the user to read and accept the license, unless that was done before.

    Raises:
        FaceLiftError: the license is not accepted.
    """
    if licence.accepted(store) is not None:
        return
    _fetch_licence(store, options.source)
    say(f"{store.catalogue.licence}. {store.catalogue.licence_summary}")
    if options.accept_licence:
        say(f"Its text is in {store.licence_file}.")
    elif not sys.stdin.isatty():
        raise FaceLiftError(
            f"The {store.catalogue.licence} must be accepted first; read it with “facelift weights licence”, then use "
            "--accept-licence."
        )
    else:
        say(f"\n{licence.text(store)}\n")
        print("Do you accept this license? Type yes or no: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("yes", "y"):
            raise FaceLiftError("Nothing was downloaded because the license was not accepted.")
    licence.accept(store)


def _fetch_licence(store: Store, source: str = "") -> None:
    if licence.text(store) is None:
        quiet_libraries(offline=False)
        run_job(store, Request("licence", source=source))


def _listing(store: Store) -> list[str]:
    found, catalogue = status(store), store.catalogue
    lines = ["mini: built in"]
    if found.converted:
        state = f"ready, {size_text(found.converted_bytes)} in {store.converted}"
    elif found.complete:
        state = "downloaded but not converted; run “facelift weights convert”"
    elif found.original_bytes > 0:
        state = (
            f"partly downloaded, {size_text(found.original_bytes)} of {size_text(catalogue.download_bytes)}; run "
            "“facelift weights download”"
        )
    else:
        state = f"not downloaded, {size_text(catalogue.download_bytes)}; run “facelift weights download”"
    accepted = f"accepted {found.accepted}" if found.accepted else "not accepted"
    lines.append(f"{catalogue.name}: {state}")
    lines.append(f"  {catalogue.title}, {catalogue.repository} at {catalogue.revision[:12]}")
    lines.append(f"  {catalogue.licence}: {accepted}. {catalogue.licence_summary}")
    if found.converted and found.original_bytes > 0:
        lines.append(f"  originals: {size_text(found.original_bytes)} in {Path(store.original)}")
    return lines
