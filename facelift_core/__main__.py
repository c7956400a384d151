"""``python -m facelift_core`` is the command ``facelift``."""

import sys


def main() -> int:
    """Run the command line. Ctrl-C while modules are imported ends it like Ctrl-C later."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("facelift: Interrupted; no incomplete files were left behind.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
