"""The command line interface ``facelift``: one module per command; heavy modules are imported only when needed.

Exit codes: 0 success, 1 error (one sentence on standard error), 2 invalid usage, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from .. import __version__
from ..compute.threads import share_cores
from ..errors import FaceLiftError
from . import animate, convert, info, mesh, reconstruct, relight, render, rig, setup, view, weights
from .console import never_fail_to_print, unexpected
from .options import UsageError

_WITH_RUNTIME = tuple(command.run for command in (reconstruct, render, mesh, relight, animate, rig, view, convert))
"""Commands that need PyTorch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: the arguments; defaults to those of the process.
    """
    share_cores()
    never_fail_to_print()
    try:
        options = build_parser().parse_args(arguments)
    except SystemExit as stopped:  # after --help or an argparse error message
        return int(stopped.code or 0)
    # Handle SIGTERM like Ctrl-C, so that temporary files are removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        if options.run in _WITH_RUNTIME or weights.needs_runtime(options):
            code = setup.hand_over(sys.argv[1:] if arguments is None else list(arguments))
            if code is not None:
                return code
        return options.run(options)
    except UsageError as error:
        print(f"facelift: {error}", file=sys.stderr)
        return 2
    except FaceLiftError as error:
        print(f"facelift: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("facelift: Interrupted; no incomplete files were left behind.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        print(f"facelift: {unexpected(error)}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facelift", description="Reconstruct a 3D head of Gaussians from one portrait photo.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"facelift {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (reconstruct, render, view, mesh, relight, animate, rig, convert, setup, weights, info):
        module.add_parser(commands)
    return parser
