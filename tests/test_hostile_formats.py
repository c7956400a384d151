"""Files of Gaussians that mean harm: they get one sentence, and cost neither much time nor much memory."""

import io
import json
import os
import struct
import time
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from facelift_core.errors import FaceLiftError
from facelift_core.gaussians.arrays import SplatArrays
from facelift_core.gaussians.files import read, write

SPLATTING = "KHR_gaussian_splatting"
HUGE = 10**400


def refused(path, match, seconds=5.0, peak=50e6):
    """Reading gives one sentence that matches, within limits of processor time and memory."""
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(FaceLiftError, match=match) as error:
            read(path, tell=lambda note: None)
        assert time.process_time() - began < seconds
        assert tracemalloc.get_traced_memory()[1] < peak
    finally:
        tracemalloc.stop()
    assert "\n" not in str(error.value) and "Error" not in str(error.value)


def glb(path, change, rows=10):
    """A .glb whose arrays share their bytes; `change` gets its description."""
    kinds = ("VEC3", "VEC4", "SCALAR")
    names = {"POSITION": 0, "ROTATION": 1, "SCALE": 0, "OPACITY": 2, "SH_DEGREE_0_COEF_0": 0}
    attributes = {name if name == "POSITION" else f"{SPLATTING}:{name}": i for name, i in names.items()}
    primitive = {"mode": 0, "attributes": attributes, "extensions": {SPLATTING: {}}}
    size = 16 * rows
    document = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "buffers": [{"byteLength": size}], "bufferViews": [{"buffer": 0, "byteLength": size}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": rows, "type": kind} for kind in kinds],
        "meshes": [{"primitives": [primitive]}],
    }  # fmt: skip
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", size, 0x004E4942)
    chunks += np.ones(size // 4, "<f4").tobytes()
    path.write_bytes(struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks)
    return path


def test_the_untouched_glb_opens(tmp_path):
    assert len(read(glb(tmp_path / "a.glb", lambda document: None))) == 10


@pytest.mark.parametrize(("place", "value"), [
    *((("nodes", 0, name), value) for name, value in [
        ("matrix", [1, 2, 3]), ("matrix", [HUGE] * 16), ("matrix", ["a"] * 16), ("matrix", None),
        ("rotation", [1, 2, 3]), ("scale", [1, 1]), ("scale", {}), ("translation", "abc"), ("translation", [0] * 4),
        ("children", 5), ("mesh", 10**30), ("mesh", "0"),
    ]),
    *((("accessors", 0, name), value) for name, value in [
        ("count", HUGE), ("count", 1e308), ("count", [1]), ("byteOffset", 0.5), ("byteOffset", HUGE), ("type", []),
        ("componentType", {}), ("bufferView", HUGE),
    ]),
    *((("bufferViews", 0, name), value) for name, value in [
        ("byteStride", 2**62), ("byteStride", "12"), ("byteLength", HUGE), ("byteOffset", -1), ("byteOffset", None),
    ]),
    (("scenes",), {"0": 1}), (("nodes",), None), (("buffers",), 3), (("meshes",), [None]), (("bufferViews",), [7]),
])  # fmt: skip
def test_descriptions_of_glb_that_make_no_sense(place, value, tmp_path):
    def change(document):
        for step in place[:-1]:
            document = document[step]
        document[place[-1]] = value

    refused(glb(tmp_path / "a.glb", change), "damaged|not supported")


def test_shared_data_of_glb_cannot_be_repeated_without_end(tmp_path):
    def nodes(document):
        document |= {"nodes": [{"mesh": 0}] * 200, "scenes": [{"nodes": list(range(200))}]}

    def primitives(document):
        document["meshes"][0]["primitives"] *= 200

    refused(glb(tmp_path / "a.glb", nodes, rows=2000), "repeat its Gaussians too often")
    refused(glb(tmp_path / "b.glb", primitives, rows=2000), "repeat its Gaussians too often")


def usda(body, about=""):
    return f'#usda 1.0\n(\n    upAxis = "Z"\n{about})\n{body}'


GAUSSIAN = """def ParticleField3DGaussianSplat "Head" {about}
{{
    point3f[] positions = [(0, 0, 0)]
    quatf[] orientations = [(1, 0, 0, 0)]
    float3[] scales = [(1, 1, 1)]
    float[] opacities = [0.5]
    float3[] radiance:sphericalHarmonicsCoefficients = [(0, 0, 0)]
    uniform int radiance:sphericalHarmonicsDegree = 0
}}
"""
CLIPS = """(clips = {dictionary default = {
    asset[] assetPaths = [@other.usda@]
    string primPath = "/Head"
    double2[] active = [(0, 0)]
    double2[] times = [(0, 0)]
}})"""
VARIANT = """def "Head" (variants = {string a = "b"}
    prepend variantSets = "a")
{
    variantSet "a" = {"b" {
        over "inside" (references = @other.usda@) {
        }
    }
    }
}
"""
REPEATED = (
    "".join(
        f'def Xform "a{i}"\n{{\n'
        + "".join(f'    def "x{j}" (references = </a{i + 1}>) {{}}\n' for j in range(10))
        + "}\n"
        for i in range(9)
    )
    + 'def "a9" {\n}\n'
)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes of POSIX")
@pytest.mark.parametrize("text", [
    usda('def "Head" (references = @other.usda@) {\n}\n'),
    usda('def "Head" (payload = @other.usda@) {\n}\n'),
    usda(GAUSSIAN.format(about=""), "    subLayers = [@other.usda@]\n"),
    usda(GAUSSIAN.format(about=CLIPS)),
    usda(VARIANT),
    usda(REPEATED),
], ids=["reference", "payload", "sublayer", "clips", "variant", "repeated"])  # fmt: skip
def test_usd_opens_no_other_file_and_repeats_nothing(text, tmp_path):
    os.mkfifo(tmp_path / "other.usda")  # whoever opens it waits for ever
    (tmp_path / "a.usda").write_text(text)
    refused(tmp_path / "a.usda", "references to other files or between its parts")


@pytest.mark.parametrize("wrong", ['string[] positions = ["a"]', "float positions = 3", "asset positions = @a@",
                                   "float2[] positions = [(0, 0)]", "token[] positions = []"])  # fmt: skip
def test_attributes_of_usd_with_a_wrong_type(wrong, tmp_path):
    text = usda(GAUSSIAN.format(about=""))
    if "string" in wrong:
        (tmp_path / "a.usda").write_text(text)
        assert len(read(tmp_path / "a.usda")) == 1
    (tmp_path / "b.usda").write_text(text.replace("point3f[] positions = [(0, 0, 0)]", wrong))
    refused(tmp_path / "b.usda", "positions")


def test_a_usd_file_that_announces_more_than_it_has_takes_no_memory(tmp_path):
    """The library allocates what the file announces, and its crash must not be ours."""
    head = SplatArrays(*(np.ones(shape, np.float32) for shape in ((40, 3), (40, 4, 3), (40, 3), (40, 4), (40,))))
    write(head, tmp_path / "a.usdc")
    content = bytearray((tmp_path / "a.usdc").read_bytes())
    tokens = content.index(b"TOKENS")  # the table of contents; a section begins with its count
    (start,) = struct.unpack_from("<q", content, tokens + 16)
    content[start : start + 16] = struct.pack("<qq", 2**60, 2**60)
    (tmp_path / "a.usdc").write_bytes(content)
    refused(tmp_path / "a.usdc", "damaged")


def sog(path, changes, image):
    files = {"files": ["a"]}
    meta = {"version": 2, "count": 100, "means": {"mins": [-1] * 3, "maxs": [1] * 3, "files": ["a", "a"]},
            "quats": files, "scales": {"codebook": [0.0] * 256, **files}, "sh0": {"codebook": [0.0] * 256, **files},
            **changes}  # fmt: skip
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("meta.json", json.dumps(meta))
        bundle.writestr("a", image)
    return path


def test_descriptions_of_sog_that_make_no_sense(tmp_path):
    file = io.BytesIO()
    Image.new("RGBA", (10, 10)).save(file, "WEBP", lossless=True)
    assert len(read(sog(tmp_path / "a.sog", {"quats": {"files": ["a"]}}, file.getvalue()), lambda note: None)) == 100
    for changes in (
        {"count": HUGE}, {"count": "1"}, {"means": {"mins": [HUGE] * 3, "maxs": [1] * 3, "files": ["a", "a"]}},
        {"sh0": {"codebook": [HUGE], "files": ["a"]}}, {"sh0": {"codebook": [[1], [1, 2]], "files": ["a"]}},
        {"shN": None}, {"shN": {"count": 1, "bands": [], "codebook": [], "files": ["a", "a"]}}, {"quats": {"files": 3}},
    ):  # fmt: skip
        refused(sog(tmp_path / "b.sog", changes, file.getvalue()), "damaged|contains no")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    refused(sog(tmp_path / "c.sog", {}, png + b"\0\0\0\0IDAT"), "larger than")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38, 1e-45])
def test_the_same_extreme_value_everywhere(value, tmp_path):
    head = SplatArrays(*(np.ones(shape, np.float32) for shape in ((9, 3), (9, 1, 3), (9, 3), (9, 4), (9,))))
    for suffix in (".ply", ".splat", ".compressed.ply", ".glb"):
        write(head, tmp_path / f"a{suffix}")
        content = (tmp_path / f"a{suffix}").read_bytes()
        numbers = 9 * 32 if suffix == ".splat" else 72 if suffix == ".compressed.ply" else 36
        start = 0 if suffix == ".splat" else content.rindex(b"end_header\n") + 11 if suffix.endswith("ply") else -36
        end = start + numbers or None
        changed = content[:start] + np.full(numbers // 4, value, "<f4").tobytes() + (content[end:] if end else b"")
        (tmp_path / f"b{suffix}").write_bytes(changed)
        try:
            found = read(tmp_path / f"b{suffix}", tell=lambda note: None)
        except FaceLiftError as error:
            assert "Gaussians that can be drawn" in str(error)
        else:
            assert all(np.isfinite(part).all() for part in (found.positions, found.sh, found.log_scales))
