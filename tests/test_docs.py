"""The documentation: links lead somewhere, commands exist, sections that the code refers to are there."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from blenders import load_build
from markdown_it import MarkdownIt
from markdown_it.token import Token

import facelift_core as fl
from facelift_core.cli import build_parser

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "benchmarks", "tests", "facelift_core", "facelift_blender")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def tokens(page: Path) -> Iterator[Token]:
    """All of a page's, those within paragraphs too."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    titles = [after.content for token, after in pairwise(tokens(page)) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def targets(page: Path) -> Iterator[str]:
    for token in tokens(page):
        if target := token.attrGet("href") if token.type == "link_open" else token.attrGet("src"):
            yield str(target)


def code(page: Path) -> Iterator[str]:
    """The lines of blocks of code, and code within paragraphs."""
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            yield from token.content.replace("\\\n", " ").splitlines()
        elif token.type == "code_inline":
            yield token.content


def commands(program: str, page: Path) -> list[list[str]]:
    """The arguments of every call of `program` on a page, as a shell would split them."""
    found = []
    for line in code(page):
        words = shlex.split(line, comments=True) if line.startswith(f"{program} ") else []
        found += [words[1:]] if words else []
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in targets(page):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            assert parts.scheme in ("http", "https"), target
            continue
        there = (page.parent / unquote(parts.path)) if parts.path else page
        assert there.exists(), f"{name(page)} refers to {target}, which does not exist"
        assert there.resolve().is_relative_to(ROOT), target
        if parts.fragment:
            assert parts.fragment in anchors(there), f"{name(page)} refers to {target}, which has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_modules_that_are_named_exist(page):
    """Such as `facelift_core/files.py`, or `align/crop.py` for short."""
    places = (ROOT, ROOT / "facelift_core", ROOT / "facelift_blender")
    for text in code(page):
        for path in re.findall(r"(?<![\w/.-])\w[\w/-]*/[\w-]+\.py\b", text):
            assert any((place / path).is_file() for place in places), f"{name(page)} names {path}"


def test_every_picture_is_shown():
    shown = {(page.parent / target).resolve() for page in PAGES for target in targets(page)}
    assert {path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()} <= shown


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page):
    for arguments in commands("facelift", page):
        if arguments[0] != "…":
            with pytest.raises(SystemExit) as stopped:
                build_parser().parse_args([arguments[0], "--help"])
            assert stopped.value.code == 0, f"facelift {shlex.join(arguments)}"
    rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for arguments in commands("make", page):
        wanted = [word for word in arguments if "=" not in word]
        assert wanted and set(wanted) <= rules, f"make {shlex.join(arguments)}"


def test_the_readmes_commands_are_understood():
    """With all their options. Those in the text are parts of commands; what is in blocks is complete."""
    blocks = [token for token in tokens(ROOT / "README.md") if token.type == "fence"]
    lines = [line for block in blocks for line in block.content.splitlines() if line.startswith("facelift ")]
    assert len(lines) >= 5
    for line in lines:
        assert build_parser().parse_args(shlex.split(line)[1:]).run


def test_the_workflows_and_ci_run_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tests, release, ci = (
        (ROOT / path).read_text(encoding="utf-8")
        for path in (".github/workflows/test.yml", ".github/workflows/release.yml", ".ci/run")
    )
    in_matrix = re.search(r"target: \[(.*)\]", tests).group(1).split(", ")
    by_name = re.findall(r"(?m)^(?:.*run: )?make ([\w-]+)", release + ci)
    assert set(in_matrix) | {"release"} == set(by_name), "the workflow runs what .ci/run does"
    assert all(re.search(rf"(?m)^{target}:", makefile) for target in by_name)


def test_actions_are_pinned():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        uses = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
        assert uses and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in uses)


def test_sections_of_the_model_that_the_code_refers_to_exist():
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"(?m)^#+ (\d(?:\.\d)?)", page)) | set(re.findall(r"\*\*(\d\.\d+)", page))
    referred = set()
    for path in ROOT.glob("facelift_*/**/*.py"):
        for text in re.findall(
            r"docs/model\.md, ((?:\d(?:\.\d)*(?:, | and |, and )?)+)", path.read_text(encoding="utf-8")
        ):
            referred |= set(re.findall(r"\d(?:\.\d)?", text))
    assert len(referred) > 10 and referred <= sections


def test_the_api_page_has_all_public_names():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"(?m)^## `facelift_core\.([\w.]+)`", page))
    assert headings == {*fl.__all__, "multiview.MultiViewDiffusion", "gslrm.GSLRM"}


def test_release_notes_are_a_section_of_the_changelog():
    build = load_build()
    text = "## [Unreleased]\n\n- new\n\n## [1.2.0] - 2026-01-01\n\n### Added\n\n- this\n\n## [1.1.0]\n\n- old"
    assert build.release_notes(text, "1.2.0") == "### Added\n\n- this\n"
    assert build.release_notes(text, "1.1.0") == "- old\n"
    with pytest.raises(build.BuildError, match=r"no section on version 1\.2\b"):
        build.release_notes(text, "1.2")


def test_the_changelog_knows_the_version():
    version = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))["version"]
    assert load_build().release_notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version)


def test_a_release_leaves_other_files_alone(tmp_path):
    build = load_build()
    (tmp_path / "facelift-0.0.1.zip").touch()
    (tmp_path / "thesis.odt").touch()
    with pytest.raises(build.BuildError, match=r"thesis\.odt"):
        build.release(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
