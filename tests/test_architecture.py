"""The layers of docs/architecture.md, as pyproject.toml states them for import-linter, and the size of modules."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_AT_MOST = 350


def test_no_import_goes_upward_or_in_a_circle():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["facelift_core", "facelift_blender"])
def test_modules_stay_small(package):
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / package).rglob("*.py")}
    large = {str(path.relative_to(ROOT)): count for path, count in lines.items() if count >= LINES_AT_MOST}
    assert not large
