"""Console output: a progress bar on a terminal, plain lines otherwise."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import OUT_OF_MEMORY, first_line, ran_out_of_memory
from ..progress import ProgressCallback

TRACEBACK_VARIABLE = "FACELIFT_TRACEBACK"

LINE_EVERY = 0.1
"""Plain lines are printed at each new stage, and after this fraction of the whole run."""


def say(message: str) -> None:
    """Print a line to standard error, which is used for everything except results."""
    print(message, file=sys.stderr, flush=True)


def never_fail_to_print() -> None:
    """Print what the console's encoding lacks, and file names that are no valid text, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def unexpected(error: Exception) -> str:
    """Return one sentence on an error that should not happen, and print its traceback if the user asked for that."""
    if os.environ.get(TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    if ran_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
    return (
        f"Unexpected error: {type(error).__name__}: {first_line(error)}. Please report it, with the output of "
        f"“facelift info” and of this command with {TRACEBACK_VARIABLE}=1."
    )


def duration(seconds: float) -> str:
    """Format a duration, such as "40 s", "12 min" or "1.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def progress_bar(label: str, width: int = 40) -> Iterator[ProgressCallback]:
    """Context manager that shows the progress of a run and yields its callback.

    Args:
        label: name of the run.
        width: characters for label and message on a terminal.
    """
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from tqdm import tqdm

    layout = f"{{desc:<{width}.{width}}} {{percentage:3.0f}} %|{{bar}}| {{elapsed}} < {{remaining}}"
    with tqdm(total=1.0, desc=label, bar_format=layout, dynamic_ncols=True, leave=False) as bar:

        def show(stage: str, fraction: float, message: str) -> None:
            bar.n = fraction
            bar.set_description_str(f"{label}: {message}")

        yield show


def _lines(label: str) -> ProgressCallback:
    last = {"stage": "", "fraction": 0.0}

    def show(stage: str, fraction: float, message: str) -> None:
        if stage != last["stage"] or fraction - last["fraction"] >= LINE_EVERY:
            last.update(stage=stage, fraction=fraction)
            say(f"{label}: {100 * fraction:3.0f} % {message}")

    return show
