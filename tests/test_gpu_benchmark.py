"""The script for minutes on a card, at a small size: it measures, resumes, and prints one table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = "weights", "transcription", "ours"


def run(folder: Path, *more: str) -> str:
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", folder, "--work", folder / "work", "--small", *more]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_parts_are_measured_once_and_tell_their_ratios(tmp_path):
    said = run(tmp_path, "--parts", *PARTS)
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows if row.get("done")} == set(PARTS), said
    table = (tmp_path / "table.txt").read_text()
    for line in ("views, quality", "whole, fast", "quality, without the compiler", "peak of views"):
        assert line in table
    psnr = next(row["views_psnr"] for row in rows if "views_psnr" in row)
    assert psnr > 50  # the same views as those of the transcription; random weights multiply rounding
    assert "[" not in run(tmp_path, "--parts", *PARTS).splitlines()[0]
    again = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert again == rows and (tmp_path / "table.txt").read_text() == table


def test_a_wrong_part_is_refused():
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "folder", "--parts", "no such part"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
