"""Make the Blender extension: python build.py [--release]

Writes dist/facelift-<version>.zip, the same bytes from the same sources, has Blender's own tool validate it, and
writes the index (index.json, index.html) of a repository that people can add in Blender's preferences. With --release
also the release notes, cut from CHANGELOG.md, and the checksums of all files.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
LEFT_OUT = {"__pycache__", "training", "zbuffer.cpp", "ruff.toml"}
"""Names that do not belong into the zip: the core's training code and its renderer, caches, settings of tools."""
TOOL = "scripts/addons_core/bl_pkg/cli/blender_ext.py"
TAGS = "scripts/modules/_bpy_internal/extensions/tags.py"
TIME = (1980, 1, 1, 0, 0, 0)
NOTES, CHECKSUMS = "RELEASE_NOTES.md", "SHA256SUMS"


class BuildError(Exception):
    """One sentence on what is wrong."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Make the Blender extension: dist/facelift-<version>.zip and the index of a repository.",
        epilog="Without --blender, the bpy package of this Python, of those in the environment variable "
        "FACELIFT_BPY_PYTHONS, and the program “blender” are tried.",
    )
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist", help="folder for zip and index (dist)")
    parser.add_argument(
        "--blender",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a Python that has the bpy package, a bpy package or a Blender folder, to validate with; may be repeated",
    )
    parser.add_argument(
        "--release", action="store_true", help="empty the folder first; also write the release notes and the checksums"
    )
    options = parser.parse_args(arguments)
    try:
        (release if options.release else build)(options.output, options.blender)
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    return 0


def build(output: Path, blenders: Sequence[Path] = ()) -> Path:
    """Make the zip and, where Blender's tool is found, validate it and write the index; returns the zip's path.

    Raises:
        BuildError: the sources disagree about the version, the tool refuses the zip, or a Blender given has no tool.
    """
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    check_versions(manifest["version"])
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{manifest['id']}-{manifest['version']}.zip"
    with tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / manifest["id"]
        stage(staged)
        write_zip(staged, path)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    if not (ROOT / "facelift_core" / "weights" / "mini").is_dir():
        print("The built-in weights (facelift_core/weights/mini) are not there; this zip comes without weights.")
    tools = [_tool_of(blender) for blender in blenders] or list(find_tools())
    for tool in tools:
        tags = str(tool).removesuffix(TOOL) + TAGS
        _run(tool, "validate", str(path), "--valid-tags", tags)
        print(f"Valid for {tool.parents[4]}")
    if tools:
        _run(tools[-1], "server-generate", "--repo-dir", str(output), "--html")
        print(f"{output / 'index.json'}: add its address as a remote repository in Blender's preferences.")
    else:
        print("No Blender found: the zip is not validated and there is no index; see --blender.")
    return path


def release(output: Path, blenders: Sequence[Path] = ()) -> None:
    """Fill `output` with everything that a release consists of: zip, index, release notes, checksums.

    Raises:
        BuildError: as :func:`build`; or there is no Blender, no section of the changelog, or other files in `output`.
    """
    version = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    notes = release_notes(changelog, version)
    if _section_of(changelog, "Unreleased"):
        print(f"CHANGELOG.md has entries under Unreleased, which are not in the notes of version {version}.")
    for file in _files_of_a_release(output):
        file.unlink()
    build(output, blenders)
    if not (output / "index.json").is_file():
        raise BuildError("A release needs Blender's tool, which writes the index; see --blender.")
    (output / NOTES).write_text(notes, encoding="utf-8")
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in _files_of_a_release(output)}
    (output / CHECKSUMS).write_text("".join(f"{sums[name]}  {name}\n" for name in sorted(sums)), encoding="utf-8")
    print(f"{output}: {', '.join([*sorted(sums), CHECKSUMS])}")


def release_notes(changelog: str, version: str) -> str:
    """The text of the changelog's section on `version`. Raises BuildError if there is none."""
    notes = _section_of(changelog, version)
    if not notes:
        raise BuildError(f"CHANGELOG.md has no section on version {version}.")
    return notes + "\n"


def _section_of(changelog: str, name: str) -> str:
    """What stands below the heading “## [name]”, empty if there is no such heading."""
    sections = re.split(r"(?m)^## ", changelog)
    found = next((section for section in sections if section.startswith(f"[{name}]")), "")
    return found.partition("\n")[2].strip()


def _files_of_a_release(folder: Path) -> list[Path]:
    """What is in `folder`. Raises BuildError if something is that no release wrote."""
    files = list(folder.iterdir()) if folder.is_dir() else []
    known = re.compile(rf"facelift-.+\.zip|index\.(json|html)|{NOTES}|{CHECKSUMS}")
    if foreign := [file.name for file in files if not known.fullmatch(file.name)]:
        raise BuildError(
            f"There are other files in {folder}, such as {foreign[0]}; empty it, or choose another folder."
        )
    return files


def stage(folder: Path) -> None:
    """Lay out in `folder` what the zip holds: the extension at the root, the core as a package in it."""
    _copy(ROOT / "facelift_blender", folder)
    for module in folder.rglob("*.py"):
        _vendor_core(module, depth=len(module.relative_to(folder).parts))
    _copy(ROOT / "facelift_core", folder / "facelift_core")  # its own imports are relative already
    for name in ("blender_manifest.toml", "LICENSE", "pyproject.toml", "requirements.txt"):
        shutil.copyfile(ROOT / name, folder / name)


def _vendor_core(module: Path, depth: int) -> None:
    """Make the imports of the core relative: in the zip it is a part of the extension, not a package for all to see."""
    text = module.read_text(encoding="utf-8")
    relative = re.sub(r"(?m)^(\s*)from facelift_core\b", rf"\g<1>from {'.' * depth}facelift_core", text)
    relative = re.sub(r"(?m)^(\s*)import facelift_core$", rf"\g<1>from {'.' * depth} import facelift_core", relative)
    if re.search(r"(?m)^\s*(from|import) facelift_core\b", relative):
        raise BuildError(f"{module.name} imports facelift_core in a way that cannot be made relative.")
    if relative != text:
        module.write_text(relative, encoding="utf-8")


def write_zip(folder: Path, path: Path) -> None:
    """Pack `folder` so that equal files give equal bytes: sorted, without times, owners or this machine's modes."""
    temporary = path.with_suffix(".part")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for file in sorted(file for file in folder.rglob("*") if file.is_file()):
                entry = zipfile.ZipInfo(file.relative_to(folder).as_posix(), TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.create_system = 3  # Unix, also when packed on Windows
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, file.read_bytes())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_versions(version: str) -> None:
    """Raise BuildError unless manifest, project and core have the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    tree = ast.parse((ROOT / "facelift_core" / "__init__.py").read_text(encoding="utf-8"))
    core = next(
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__"
    )
    if not version == project == core:
        raise BuildError(
            f"The versions differ: blender_manifest.toml {version}, pyproject.toml {project}, facelift_core {core}."
        )


def find_tools() -> Iterator[Path]:
    """Blender's extension tool in the Blenders that are at hand."""
    spec = importlib.util.find_spec("bpy")
    places = [Path(spec.origin).parent] if spec and spec.origin else []
    places += [Path(p) for p in os.environ.get("FACELIFT_BPY_PYTHONS", "").split(os.pathsep) if p]
    if program := shutil.which("blender"):
        places += [Path(program).resolve().parent, Path("/usr/share/blender")]
    for place in places:
        if tool := _tool_in(place):
            yield tool


def _tool_of(place: Path) -> Path:
    tool = _tool_in(place)
    if tool is None:
        raise BuildError(f"There is no Blender in {place}: give a Python that has bpy, or a folder with {TOOL}.")
    return tool


def _tool_in(place: Path) -> Path | None:
    """The tool of the Blender or bpy at `place`, which may be a Python that has bpy."""
    if place.is_file():
        environment = place.parent.parent
        patterns = [f"lib/python*/site-packages/bpy/*/{TOOL}", f"Lib/site-packages/bpy/*/{TOOL}"]
        return next((found for pattern in patterns for found in environment.glob(pattern)), None)
    return next((found for pattern in (TOOL, f"*/{TOOL}") for found in place.glob(pattern)), None)


def _run(tool: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-I", str(tool), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"Blender's tool ({tool}) refuses: {(done.stdout + done.stderr).strip()}")


def _copy(source: Path, target: Path) -> None:
    def left_out(_: str, names: list[str]) -> list[str]:
        return [name for name in names if name in LEFT_OUT or name.startswith(".")]

    shutil.copytree(source, target, ignore=left_out, dirs_exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
