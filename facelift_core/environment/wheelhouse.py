"""List the wheels that a folder lacks for an offline installation.

    python -m facelift_core.environment.wheelhouse FOLDER REQUIREMENT…

prints a JSON list of phrases. Run it in the target environment, because it uses that environment's pip. pip itself
reports only the first missing wheel.
"""

from __future__ import annotations

import email.parser
import json
import sys
import zipfile
from pathlib import Path
from typing import Any


def lacking(folder: Path, requirements: list[str]) -> list[str]:
    """Return a phrase for each requirement, or dependency of a wheel found, without a compatible wheel in `folder`."""
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.tags import sys_tags
    from pip._vendor.packaging.utils import canonicalize_name

    wheels, tags = _wheels(folder), set(sys_tags())
    missing: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        key = (canonicalize_name(wanted.name), ",".join(sorted(wanted.extras)))
        if key in seen:
            continue
        seen.add(key)
        named = wheels.get(key[0], [])
        versions = [wheel for wheel in named if wanted.specifier.contains(wheel[0], prereleases=True)]
        fitting = [wheel for wheel in versions if wheel[1] & tags]
        if not fitting:
            asked = f"{wanted.name}{wanted.specifier}"
            other = "of another version" if named and not versions else "for another Python or system"
            missing[key[0]] = f"{asked} (there is one {other})" if named else asked
            continue
        _, _, path = max(fitting, key=lambda wheel: wheel[0])
        needed = [Requirement(line) for line in _requires(path)]
        waiting += [(line, name) for line in needed for name in ("", *wanted.extras)]
    return [missing[name] for name in sorted(missing)]


def _wheels(folder: Path) -> dict[str, list[tuple[Any, frozenset[Any], Path]]]:
    from pip._vendor.packaging.utils import InvalidWheelFilename, parse_wheel_filename

    found: dict[str, list[tuple[Any, frozenset[Any], Path]]] = {}
    for path in sorted(folder.glob("*.whl")):
        try:
            name, version, _, tags = parse_wheel_filename(path.name)
        except InvalidWheelFilename:
            continue
        found.setdefault(name, []).append((version, tags, path))
    return found


def _requires(wheel: Path) -> list[str]:
    """Return the Requires-Dist entries of a wheel; none if it is damaged, which pip will report."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1)
            text = archive.read(name).decode("utf-8", errors="replace")
    except (OSError, zipfile.BadZipFile, StopIteration):
        return []
    return email.parser.HeaderParser().parsestr(text).get_all("Requires-Dist") or []


if __name__ == "__main__":
    print(json.dumps(lacking(Path(sys.argv[1]), sys.argv[2:])))
