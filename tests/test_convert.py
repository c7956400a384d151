"""``facelift convert`` and ``facelift render`` with every format."""

from __future__ import annotations

import numpy as np
import pytest
from test_filters import raw_gaussians
from test_formats import SUFFIXES, splats

from facelift_core.cli import main
from facelift_core.gaussians.files import format_of, read, write
from facelift_core.gaussians.filters import CLI_LIMITS, filter_gaussians


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_there_and_back(suffix, tmp_path, capsys):
    write(splats(50, degree=1), tmp_path / "a.ply")
    assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / f"b{suffix}")]) == 0
    told = capsys.readouterr()
    assert "50 Gaussians" in told.out and ("view-dependent" in told.err) == (format_of(f"b{suffix}").sh_degree == 0)
    assert main(["convert", str(tmp_path / f"b{suffix}"), str(tmp_path / "c.ply")]) == 0
    assert len(read(tmp_path / "c.ply")) == 50
    assert main(["render", str(tmp_path / f"b{suffix}"), "-o", str(tmp_path / "a.png"), "--size", "32"]) == 0


def test_the_published_filter(tmp_path):
    raw_gaussians().save(tmp_path / "raw.ply")
    assert main(["convert", str(tmp_path / "raw.ply"), str(tmp_path / "a.ply"), "--filter", "cli"]) == 0
    expected = filter_gaussians(raw_gaussians(), CLI_LIMITS)
    assert np.array_equal(read(tmp_path / "a.ply").positions, expected.positions.numpy())


def test_what_is_wrong_is_said(tmp_path, capsys):
    write(splats(9), tmp_path / "a.ply")
    bad = splats(9)
    bad.positions[:] = 50.0
    write(bad, tmp_path / "far.ply")
    for arguments, code, words in (
        (["a.ply", "b.obj"], 1, "“.obj” is not a format"),
        (["none.spz", "b.ply"], 1, "does not exist"),
        (["a.ply", "b.glb", "--spz-version", "4"], 2, "for .spz files"),
        (["far.ply", "b.ply", "--filter", "web"], 1, "Nothing is left"),
    ):
        paths = [str(tmp_path / argument) if "." in argument else argument for argument in arguments]
        assert main(["convert", *paths]) == code
        assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ply", "far.ply"]


def test_rows_that_were_left_out_are_told(tmp_path, capsys):
    bad = splats(9)
    write(bad, tmp_path / "a.ply")
    content = bytearray((tmp_path / "a.ply").read_bytes())
    content[-16:] = bytes(16)
    (tmp_path / "a.ply").write_bytes(content)
    assert main(["convert", str(tmp_path / "a.ply"), str(tmp_path / "b.ply")]) == 0
    assert "1 of 9 Gaussians were left out: 1 without a rotation." in capsys.readouterr().err
