"""``facelift info``: show versions, devices, weights and memory, for the user and for bug reports."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..diagnostics import collect


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "info",
        help="show versions, devices, weights and memory",
        description="Show versions, devices, weights, background removal methods and memory.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument(
        "--weights", metavar="FOLDER", action="append", default=[], help="also inspect the weights in this folder"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    found = collect(["mini", *options.weights])
    print(json.dumps(found, indent=2, ensure_ascii=False) if options.json else "\n".join(_lines(found)))
    return 0


def _lines(found: dict[str, Any]) -> list[str]:
    def bytes_text(count: int) -> str:
        return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"

    def text(value: Any) -> str:
        if not isinstance(value, dict):
            return str(value)
        return ", ".join(
            f"{key} {bytes_text(item) if key in ('bytes', 'free', 'total', 'available') else text(item)}"
            for key, item in value.items()
        )

    lines = [f"FaceLift {found['facelift']}, Python {found['python']} ({found['executable']}), {found['system']}"]
    installed = {name: version for name, version in found["packages"].items() if version}
    missing = [name for name, version in found["packages"].items() if not version]
    lines += [f"packages: {text(installed)}", f"not installed: {', '.join(missing) or 'nothing'}"]
    lines += [f"memory: {text(found['memory'])}"]
    lines += [f"cache, which may be removed: {text(found['cache'])}"]
    for section in ("devices", "weights", "matting"):
        lines += [f"{section}:"] + [f"  {name}: {text(value)}" for name, value in found[section].items()]
    return lines
