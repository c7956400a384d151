"""Write docs/api.md from the docstrings of the public names: python docs/make_api.py [--check]

Needs the extra ``docs``: griffe2md, which reads the sources without importing them, and ruff, which formats the
signatures. With ``--check`` it writes nothing and fails if the page is not up to date.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from griffe import GriffeLoader, Object, Parser
from griffe2md import render_object_docs

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "api.md"

PUBLIC = {
    "FaceLift": "pipeline.FaceLift",
    "Result": "result.Result",
    "Gaussians": "gaussians.tensors.Gaussians",
    "load": "gaussians.files.load",
    "save": "gaussians.files.save",
    "render": "rendering.render",
    "six_views": "rendering.cameras.six_views",
    "relight": "relighting.shading.relight",
    "Environment": "relighting.environment.Environment",
    "Sun": "relighting.environment.Sun",
    "make_rig": "animation.rigging.make_rig",
    "animate": "animation.animate.animate",
    "FaceLiftError": "errors.FaceLiftError",
    "Cancelled": "errors.Cancelled",
    "multiview.MultiViewDiffusion": "multiview.diffusion.MultiViewDiffusion",
    "gslrm.GSLRM": "gslrm.network.GSLRM",
}
"""What users import → where it is defined, both below ``facelift_core``."""

INTRODUCTION = """\
# API reference

The Python library. `import facelift_core as fl` is immediate; PyTorch is imported on first use. `make api` writes this
page from the docstrings: to change it, change those. "docs/model.md, 4" refers to section 4 of [the model](model.md).
"""

STYLE = {
    "filters": ["!^_[^_]"],
    "heading_level": 2,
    "show_if_no_docstring": False,
    "show_signature_annotations": False,
    "summary": False,
}

ONE_RESULT = {"returns_multiple_items": False, "returns_named_value": False}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not up to date")
    options = parser.parse_args(arguments)
    page = make_page()
    if not options.check:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        print("docs/api.md is not up to date; run “make api” and commit it.", file=sys.stderr)
        return 1
    return 0


def make_page() -> str:
    """The page as Markdown."""
    loader = GriffeLoader(docstring_parser=Parser.google, docstring_options=ONE_RESULT, search_paths=[ROOT])
    package = loader.load("facelift_core")
    page = "\n".join([INTRODUCTION, *(_section(package[home], name) for name, home in PUBLIC.items())])
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(PAGE), "-"]
    return subprocess.run(ruff, input=page, stdout=subprocess.PIPE, check=True, encoding="utf-8", cwd=ROOT).stdout


def _section(item: Object, name: str) -> str:
    text = render_object_docs(item, STYLE).replace(item.path, f"facelift_core.{name}")
    text = re.sub(r"\[([^\]]+)\]\(#[^)]*\)", r"\1", text)  # links to what is not on this page
    text = re.sub(r"</?code>", "`", text)
    text = re.sub(r"\*\*(\w+),\*\* \(`(\w+)`\)", r"**\1, \2**", text)  # attributes that share a line
    text = re.sub(r":(\w+):`~?([^`]+)`", _role, text)
    text = re.sub(r"(?<!`)``([^`]+)``(?!`)", r"`\1`", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _role(match: re.Match[str]) -> str:
    """A cross-reference of Sphinx as code: the name of the function or class; modules with their package."""
    role, target = match.groups()
    if role == "mod":
        return f"`facelift_core.{target.removeprefix('facelift_core').strip('.')}`"
    name = target.rpartition(".")[2]
    return f"`{name}()`" if role in ("func", "meth") else f"`{name}`"


if __name__ == "__main__":
    sys.exit(main())
