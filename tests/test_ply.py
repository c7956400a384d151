"""Gaussians as .ply: ours equal to the reference's, other tools' files read, damaged ones refused with a sentence."""

from __future__ import annotations

import math
import os
import random
import re
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from test_filters import GOLDENS, raw_gaussians

from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.files import load, save
from facelift_core.gaussians.filters import CLI_LIMITS, WEB_LIMITS, filter_gaussians
from facelift_core.gaussians.tensors import SH_C0, Gaussians

FIELDS = ("positions", "sh", "log_scales", "rotations", "opacity_logits")
NUMPY_TYPES = {"uchar": "u1", "ushort": "u2", "int": "i4", "float": "f4", "double": "f8", "float32": "f4"}
NEEDED = ["x", "y", "z", "opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
DC = ["f_dc_0", "f_dc_1", "f_dc_2"]
RGB = ["red", "green", "blue"]


def gaussians(count: int = 7, sh_degree: int = 0, seed: int = 0) -> Gaussians:
    draw = torch.Generator().manual_seed(seed)
    shapes = ((count, 3), (count, (sh_degree + 1) ** 2, 3), (count, 3), (count, 4), (count,))
    return Gaussians(*(torch.randn(shape, generator=draw) for shape in shapes))


def table(names: list[str], count: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    """Values that every type below holds exactly."""
    draw = np.random.default_rng(seed)
    return {name: draw.integers(0, 100, count) / (1 if name in RGB else 4) for name in names}


def ply(
    columns: dict[str, np.ndarray],
    encoding: str = "binary_little_endian",
    types: dict[str, str] | None = None,
    line_end: str = "\n",
    before: str = "",
    before_data: bytes = b"",
    after: str = "",
    after_data: bytes = b"",
) -> bytes:
    """A .ply with one vertex per row, and other elements around it."""
    kinds = {name: (types or {}).get(name, "float") for name in columns}
    count = len(next(iter(columns.values())))
    lines = ["ply", f"format {encoding} 1.0", "comment made by a test", *before.splitlines()]
    lines += [f"element vertex {count}", *(f"property {kind} {name}" for name, kind in kinds.items())]
    lines += [*after.splitlines(), "end_header", ""]
    if encoding == "ascii":
        rows = [" ".join(f"{columns[name][i]:g}" for name in columns) for i in range(count)]
        data = "".join(row + line_end for row in rows).encode()
    else:
        order = "<" if "little" in encoding else ">"
        rows = np.empty(count, [(name, order + NUMPY_TYPES[kind]) for name, kind in kinds.items()])
        for name, values in columns.items():
            rows[name] = values
        data = rows.tobytes()
    return line_end.join(lines).encode() + before_data + data + after_data


def read(content: bytes, tmp_path: Path) -> Gaussians:
    path = tmp_path / "file.ply"
    path.write_bytes(content)
    return load(path)


def assert_holds(found: Gaussians, columns: dict[str, np.ndarray]) -> None:
    def stack(*names: str) -> torch.Tensor:
        return torch.tensor(np.stack([columns[name] for name in names], axis=1), dtype=torch.float32)

    assert torch.equal(found.positions, stack("x", "y", "z"))
    assert torch.equal(found.log_scales, stack("scale_0", "scale_1", "scale_2"))
    assert torch.equal(found.rotations, stack("rot_0", "rot_1", "rot_2", "rot_3"))
    assert torch.equal(found.opacity_logits, stack("opacity")[:, 0])
    if "f_dc_0" in columns:
        assert torch.equal(found.sh[:, 0], stack(*DC))
    for k in range(1, found.sh.shape[1]):
        per_channel = found.sh.shape[1] - 1
        assert torch.equal(found.sh[:, k], stack(*(f"f_rest_{c * per_channel + k - 1}" for c in range(3))))


# ---- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limits", "name"), [(CLI_LIMITS, "cli.ply"), (WEB_LIMITS, "web.ply")])
def test_written_file_equals_the_reference(limits, name, tmp_path):
    filter_gaussians(raw_gaussians(), limits).save(tmp_path / name)
    found, expected = ((folder / name).read_bytes().split(b"end_header\n", 1) for folder in (tmp_path, GOLDENS))
    assert found[1] == expected[1]

    def declared(header: bytes) -> list[bytes]:
        return [line for line in header.splitlines() if line.startswith((b"element", b"property", b"format"))]

    assert declared(found[0]) == declared(expected[0])


@pytest.mark.parametrize("sh_degree", [0, 1, 2, 3])
def test_round_trip_is_lossless(sh_degree, tmp_path):
    written = gaussians(sh_degree=sh_degree)
    written.save(tmp_path / "a.PLY")
    found = load(str(tmp_path / "a.PLY"))
    for name in FIELDS:
        assert torch.equal(getattr(found, name), getattr(written, name)), name
        assert getattr(found, name).is_contiguous()
    assert os.listdir(tmp_path) == ["a.PLY"]


def test_higher_harmonics_run_channel_after_channel(tmp_path):
    written = gaussians(sh_degree=1)
    written.save(tmp_path / "a.ply")
    data = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)[1]
    rows = np.frombuffer(
        data, [("xyz", "<f4", 3), ("rgb", "u1", 3), ("dc", "<f4", 3), ("rest", "<f4", 45), ("", "<f4", 8)]
    )
    for channel in range(3):
        for k in range(15):
            expected = written.sh[:, 1 + k, channel].numpy() if k < 3 else np.zeros(7, np.float32)
            assert np.array_equal(rows["rest"][:, 15 * channel + k], expected)


def test_base_colors_are_clipped_and_truncated(tmp_path):
    colors = torch.tensor([[-0.2, 0.5, 1.7], [254.9 / 255, 0.2 / 255, 1.0]])
    one = gaussians(2)
    Gaussians(one.positions, ((colors - 0.5) / SH_C0)[:, None], one.log_scales, one.rotations, one.opacity_logits).save(
        tmp_path / "a.ply"
    )
    data = (tmp_path / "a.ply").read_bytes().split(b"end_header\n", 1)[1]
    rgb = np.frombuffer(data, [("xyz", "<f4", 3), ("rgb", "u1", 3), ("", "<f4", 56)])["rgb"]
    assert rgb[0].tolist() == [0, 127, 255] and rgb[1, :2].tolist() == [254, 0]


def test_half_precision_and_gradients_are_written_too(tmp_path):
    halves = gaussians().to(torch.float16)
    halves.positions.requires_grad_()
    halves.save(tmp_path / "a.ply")
    assert torch.equal(load(tmp_path / "a.ply").positions, halves.positions.detach().float())


@pytest.mark.parametrize("name", FIELDS)
def test_values_that_are_not_finite_are_not_written(name, tmp_path):
    written = gaussians()
    getattr(written, name)[2] = math.nan
    getattr(written, name)[4] = math.inf
    with pytest.raises(FaceLiftError, match="2 of 7 Gaussians contain NaN or infinity"):
        written.save(tmp_path / "a.ply")
    assert os.listdir(tmp_path) == []


def test_where_it_cannot_be_written(tmp_path):
    (tmp_path / "folder.ply").mkdir()
    for path in (tmp_path / "missing" / "a.ply", tmp_path / "folder.ply"):
        with pytest.raises(FaceLiftError, match=re.escape(str(path))):
            gaussians().save(path)
    with pytest.raises(FaceLiftError, match="no Gaussians to write"):
        gaussians(0).save(tmp_path / "a.ply")
    for name in ("a.obj", "a"):
        with pytest.raises(FaceLiftError, match=r"use \.ply"):
            save(gaussians(), tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.ply"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource", reason="limits of a process are POSIX")
    gaussians().save(tmp_path / "a.ply")
    old = (tmp_path / "a.ply").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(FaceLiftError, match="Cannot write"):
            gaussians(1000).save(tmp_path / "a.ply")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["a.ply"]
    assert (tmp_path / "a.ply").read_bytes() == old


# ---- reading what other tools write ----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("rest", [0, 9, 24, 45])
def test_encodings_line_ends_and_degrees(encoding, line_end, rest, tmp_path):
    columns = table([*NEEDED, *DC, *(f"f_rest_{i}" for i in range(rest))])
    found = read(ply(columns, encoding, line_end=line_end), tmp_path)
    assert found.sh.shape[1] == 1 + rest // 3
    assert_holds(found, columns)


@pytest.mark.parametrize("encoding", ["binary_little_endian", "binary_big_endian", "ascii"])
def test_any_order_other_properties_and_types(encoding, tmp_path):
    names = [*NEEDED, *DC, "nx", "ny", "nz", "confidence", *(f"f_rest_{i}" for i in range(9)), *RGB]
    random.Random(3).shuffle(names)
    columns = table(names)
    types = {"x": "double", "scale_1": "double", "confidence": "int", "opacity": "float32", "f_rest_3": "double"}
    found = read(ply(columns, encoding, types | dict.fromkeys(RGB, "uchar")), tmp_path)
    assert_holds(found, columns)  # the colour is that of f_dc, not that of red, green, blue


def test_bands_of_zeros_are_dropped(tmp_path):
    columns = table([*NEEDED, *DC, *(f"f_rest_{i}" for i in range(45))])
    for i in range(45):
        if i % 15 >= 3:
            columns[f"f_rest_{i}"][:] = 0
    found = read(ply(columns), tmp_path)
    assert found.sh_degree == 1
    expected = np.stack([columns[f"f_rest_{15 * c + 1}"] for c in range(3)], axis=1)
    assert torch.equal(found.sh[:, 2], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize(("kind", "white"), [("uchar", 255), ("ushort", 65535), ("float", 1), ("double", 1)])
@pytest.mark.parametrize("encoding", ["binary_little_endian", "ascii"])
def test_colors_only_as_red_green_blue(kind, white, encoding, tmp_path):
    columns = table([*NEEDED, *RGB])
    for name in RGB:
        columns[name] = np.array([0, 1, 0, 1, 1]) * white
    found = read(ply(columns, encoding, dict.fromkeys(RGB, kind)), tmp_path)
    assert found.sh.shape == (5, 1, 3)
    expected = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0])[:, None].expand(5, 3)
    assert torch.allclose(found.colors, expected, atol=1e-6)


FACES = "element face 3\nproperty list uchar int vertex_indices\nproperty float quality"


def faces(order: str) -> bytes:
    rows = ([0, 1, 2], [0, 1, 2, 3], [])
    return b"".join(
        np.uint8(len(row)).tobytes() + np.array(row, order + "i4").tobytes() + np.array(0.5, order + "f4").tobytes()
        for row in rows
    )


@pytest.mark.parametrize(("encoding", "order"), [("binary_little_endian", "<"), ("binary_big_endian", ">")])
def test_elements_around_the_points(encoding, order, tmp_path):
    columns = table([*NEEDED, *DC])
    camera = "element camera 2\nproperty double fx\nproperty uchar id"
    cameras = np.zeros(2, [("fx", order + "f8"), ("id", "u1")]).tobytes()
    found = read(
        ply(
            columns,
            encoding,
            before=f"{FACES}\n{camera}",
            before_data=faces(order) + cameras,
            after=FACES.replace("face", "f2"),
            after_data=faces(order),
        ),
        tmp_path,
    )
    assert_holds(found, columns)


def test_elements_around_the_points_in_text(tmp_path):
    columns = table([*NEEDED, *DC])
    lines = b"3 0 1 2 .5\n4 0 1 2 3 .5\n\n0 .5\n"
    content = ply(
        columns, "ascii", before=FACES, before_data=lines, after=FACES.replace("face", "f2"), after_data=lines
    )
    assert_holds(read(content, tmp_path), columns)


@pytest.mark.parametrize("encoding", ["binary_little_endian", "ascii"])
def test_infinite_opacity_becomes_finite(encoding, tmp_path):
    columns = table([*NEEDED, *DC])
    columns["opacity"] = np.array([math.inf, -math.inf, 1.0, 2.0, 3.0])
    found = read(ply(columns, encoding), tmp_path)
    assert found.opacity_logits.tolist() == [20.0, -20.0, 1.0, 2.0, 3.0]
    assert found.opacities[0] == 1.0


def broken(names: list[str], **values: float) -> dict[str, np.ndarray]:
    """Five rows, of which the second and the fourth have `values`."""
    columns = table(names)
    for name, value in values.items():
        columns[name] = np.array([1.0, value, 2.0, value, 3.0])
    return columns


@pytest.mark.parametrize("encoding", ["binary_little_endian", "ascii"])
@pytest.mark.parametrize(
    "values",
    [{"x": math.nan}, {"scale_1": math.inf}, {"rot_3": math.nan}, {"opacity": math.nan}, {"f_dc_1": -math.inf},
     dict.fromkeys(NEEDED, 0.0)],
)  # fmt: skip
def test_rows_that_cannot_be_drawn_are_left_out_and_counted(encoding, values, tmp_path):
    columns = broken([*NEEDED, *DC], **values)
    with pytest.warns(UserWarning, match="2 of 5 Gaussians were left out: 2 with"):
        found = read(ply(columns, encoding), tmp_path)
    assert_holds(found, {name: column[[0, 2, 4]] for name, column in columns.items()})


def test_values_too_large_for_float32_are_left_out(tmp_path):
    with pytest.warns(UserWarning, match="2 of 5"):
        read(ply(broken([*NEEDED, *DC], z=1e300), types={"z": "double"}), tmp_path)


@pytest.mark.parametrize("encoding", ["binary_little_endian", "ascii"])
def test_flat_axes(encoding, tmp_path):
    """2D Gaussians lack scale_2; some tools write the logarithm of 0."""
    columns = broken([*NEEDED, *DC], scale_0=-math.inf)
    del columns["scale_2"]
    found = read(ply(columns, encoding), tmp_path)
    assert found.scales[:, 2].max() < 1e-15 and found.scales[[1, 3], 0].max() < 1e-15
    assert found.log_scales[[0, 2, 4], 0].tolist() == [1.0, 2.0, 3.0] and torch.isfinite(found.log_scales).all()


def test_hundreds_of_thousands_of_unused_rows(tmp_path):
    columns = {name: np.zeros(900_000, np.float32) for name in [*NEEDED, *DC]}
    columns["rot_0"][7] = columns["x"][7] = 1.0
    started = time.process_time()
    with pytest.warns(UserWarning, match="899,999 of 900,000 Gaussians were left out: 899,999 without a rotation"):
        found = read(ply(columns), tmp_path)
    assert found.positions.tolist() == [[1.0, 0.0, 0.0]] and time.process_time() - started < 5


# ---- refusing --------------------------------------------------------------------------------------------------------


def without(*names: str) -> dict[str, np.ndarray]:
    return {name: values for name, values in table([*NEEDED, *DC]).items() if name not in names}


WHOLE = ply(table([*NEEDED, *DC]))
TEXT = ply(table([*NEEDED, *DC]), "ascii")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "is not a PLY file"),
        (b"\x1f\x8b\x08" + WHOLE, "is not a PLY file"),
        (b"plywood", "is not a PLY file"),
        (b"ply\n", "ends inside its header"),
        (WHOLE[:100], "ends inside its header"),
        (b"ply\n" + b"comment and so on\n" * 50_000, "header without an end"),
        (b"ply\n" + b"\0" * 1_000_000, "header without an end"),
        (WHOLE[:-1], "announces 5 Gaussians, but it contains 4"),
        (WHOLE[:-270], "announces 5 Gaussians, but it contains 0"),
        (WHOLE.replace(b"vertex 5", b"vertex 999999999999999999"), "announces 999999999999999999 Gaussians"),
        (TEXT.replace(b"vertex 5", b"vertex 999999999999999999"), "too many for its size"),
        (
            TEXT.replace(b"element", b"element a " + b"9" * 18 + b"\nelement b " + b"9" * 18 + b"\nelement"),
            "contains 0",
        ),
        (TEXT.replace(b"vertex 5", b"vertex 6"), "cut short"),
        (TEXT[:-40], "is damaged|cut short"),
        (TEXT[:-3] + b"abc", "is damaged"),
        (TEXT[:-3] + b"\0\0\xff", "is damaged"),
        (WHOLE.replace(b"vertex 5", b"vertex -5"), "damaged header, in the line “element vertex -5”"),
        (WHOLE.replace(b"vertex 5", b"vertex 5e3"), "damaged header"),
        (WHOLE.replace(b"vertex 5", b"vertex " + b"9" * 5000), "damaged header"),
        (WHOLE.replace(b"vertex 5", b"vertex 0"), "contains no Gaussians"),
        (WHOLE.replace(b"float x", b"float16 x"), "damaged header, in the line “property float16 x”"),
        (WHOLE.replace(b"element vertex 5\n", b""), "damaged header"),
        (WHOLE.replace(b"element vertex", b"element point"), "no element “vertex”"),
        (WHOLE.replace(b"binary_little_endian", b"binary_middle_endian"), "damaged header"),
        (WHOLE.replace(b"format binary_little_endian 1.0\n", b""), "does not name its format"),
        (WHOLE.replace(b"float y", b"float x"), "its points lack y"),
        (WHOLE.replace(b"float y", b"float y\nproperty float y"), "has the property y twice"),
        (WHOLE.replace(b"float y", b"float y\nproperty list uchar int neighbours"), "lists in its points"),
        (ply(without("scale_1", "scale_2", "rot_0")), "lack scale_1, rot_0"),
        (ply(table(["packed_position", "packed_rotation", "packed_scale", "packed_color"])), "without the ranges"),
        (
            ply({name: np.full(3, math.nan) for name in [*NEEDED, *DC]}),
            r"has no Gaussians that can be drawn: 3 with NaN",
        ),
        (ply(without("opacity")), "lack opacity"),
        (ply(table(["x", "y", "z", *RGB])), "does not contain Gaussians"),
        (ply(without("f_dc_1")), "without color"),
        (ply(table([*NEEDED, *DC, "f_rest_0", "f_rest_1"])), "has 2 f_rest properties"),
        (ply(table([*NEEDED, *DC, *(f"f_rest_{i}" for i in range(1, 10))])), "has 9 f_rest properties"),
        (ply(table(NEEDED + DC), before=FACES, before_data=b"\xff"), "cut short"),
        (ply(table(NEEDED + DC), before="element e 99999999999999\nproperty double a"), "more than it contains"),
        (
            ply(table(NEEDED + DC), before="element e 1\nproperty list int int a", before_data=b"\xff" * 4),
            "negative length",
        ),
    ],
)
def test_bad_files_get_one_sentence(content, words, tmp_path):
    with pytest.raises(FaceLiftError, match=words) as error:
        read(content, tmp_path)
    message = str(error.value)
    assert message.startswith(str(tmp_path / "file.ply")) and message.endswith(".") and "\n" not in message


MANY = "".join(f"element e{i} 999999999999999999\nproperty double a\n" for i in range(4000))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ply(table(NEEDED + DC), before=MANY), "more than 100 elements"),
        (ply(table(NEEDED + DC), before=f"element e {10**17}\nproperty double a\n{FACES}"), "more than it contains"),
        (ply(table(NEEDED + DC), before=FACES.replace("face 3", f"face {10**17}")), "more than it contains"),
        (
            ply(
                table(NEEDED + DC),
                before="element e 3000000\nproperty list uchar uchar a",
                before_data=b"\0" * 2_900_000 + b"\1\1" * 100_000,
            ),
            "rows of lists",
        ),
        (
            ply(table(NEEDED + DC), "ascii").replace(b"end_header\n", b"end_header\n" + b"\n" * 20_000_000),
            "blank lines",
        ),
        (ply(table(NEEDED + DC), "ascii").replace(b"end_header\n", b"end_header\n" + b"1" * 100_000_000), "a line has"),
        (ply(table(NEEDED + DC), "ascii", line_end="\r").replace(b"end_header\r", b"end_header\r" * 2), "is damaged"),
    ],
    ids=["elements", "count", "lists", "long lists", "blank lines", "long line", "text"],
)
def test_work_depends_on_what_is_there(content, words, tmp_path):
    """Each took more than half a minute, or gigabytes, or ended in another exception."""
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(FaceLiftError, match=words):
            read(content, tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5 and peak < 3 * len(content) + 20e6


def test_lists_of_equal_length_before_the_points_are_skipped_at_once(tmp_path):
    columns = table([*NEEDED, *DC])
    rows = np.zeros(3_000_000, [("n", "u1"), ("entries", "<i4", 3)])
    rows["n"] = 3
    before = "element face 3000000\nproperty list uchar int vertex_indices"
    assert_holds(read(ply(columns, before=before, before_data=rows.tobytes()), tmp_path), columns)


def test_a_path_that_cannot_exist():
    with pytest.raises(FaceLiftError, match=r"not the name of a file|does not exist"):
        load("a\0b.ply")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FaceLiftError, match="does not exist"):
        load(tmp_path / "a.ply")
    with pytest.raises(FaceLiftError, match="is not a file"):
        (tmp_path / "b.ply").mkdir()
        load(tmp_path / "b.ply")
    with pytest.raises(FaceLiftError, match=r"“\.splats”"):
        load(tmp_path / "c.splats")


def test_random_damage_never_gives_anything_but_gaussians_or_a_sentence(tmp_path):
    draw = random.Random(0)
    originals = [
        (GOLDENS / "cli.ply").read_bytes(),
        WHOLE,
        TEXT,
        ply(table(NEEDED + DC), before=FACES, before_data=faces("<")),
    ]
    refused = 0
    for i in range(400):
        content = bytearray(originals[i % 4])
        end = len(content) if i % 3 else min(len(content), 400)  # every third time: the header only
        for _ in range(draw.randrange(1, 6)):
            content[draw.randrange(end)] = draw.choice((0, 10, 32, 45, 48, 57, 255, draw.randrange(256)))
        if i % 5 == 0:
            del content[draw.randrange(len(content)) :]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = read(bytes(content), tmp_path)
        except FaceLiftError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert all(torch.isfinite(getattr(found, name)).all() for name in FIELDS)
    assert 100 < refused < 400
