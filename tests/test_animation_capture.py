"""Face captures: what programs write, read back as weights, head, and times."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from facelift_core.animation import SHAPES, capture, capture_json
from facelift_core.animation.capture import HEADER, Take, read_take, resample, write_csv, write_take
from facelift_core.animation.take import canonical
from facelift_core.errors import FaceLiftError

JAW, BLINK, SMILE = (SHAPES.index(name) for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileRight"))


def take(frames: int = 130, fps: float = 30.0) -> Take:
    rng = np.random.default_rng(1)
    head = rng.uniform(-0.5, 0.5, (frames, 3)).astype(np.float32)
    return Take(rng.random((frames, 52)).astype(np.float32), head, np.arange(frames) / fps)


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def live_link(codes: list[str], values: list[float] | None = None) -> str:
    rows = [
        ",".join([code, "61", *(f"{values[i] if values else 0.25}" for _ in HEADER[2:])])
        for i, code in enumerate(codes)
    ]
    return "\n".join([",".join(HEADER), *rows]) + "\n"


def refused(path: Path) -> str:
    with pytest.raises(FaceLiftError) as caught:
        read_take(path)
    sentence = str(caught.value)
    assert sentence.endswith(".") and "\n" not in sentence and "Traceback" not in sentence
    return sentence


# --- Live Link Face -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [24, 29.97, 30, 60, 5])
def test_a_written_take_reads_back_the_same(tmp_path, fps):
    original = take(fps=fps)
    write_csv(original, tmp_path / "take.csv")
    again = read_take(tmp_path / "take.csv")
    assert np.allclose(again.weights, original.weights, atol=1e-7) and np.allclose(again.head, original.head, atol=1e-7)
    assert np.allclose(again.times, original.times, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["take.csv"]


def test_json_reads_back_the_same(tmp_path):
    original = take(20, 24)
    write_take(original, tmp_path / "take.json")
    again = read_take(tmp_path / "take.json")
    assert np.allclose(again.weights, original.weights, atol=1e-6) and np.allclose(again.head, original.head, atol=1e-6)
    assert np.allclose(again.times, original.times)
    with pytest.raises(FaceLiftError, match=r"must end with \.csv or \.json"):
        write_take(original, tmp_path / "take.txt")
    with pytest.raises(FaceLiftError, match="does not exist"):
        write_take(original, tmp_path / "no" / "take.json")


def test_the_layout_is_live_link_faces(tmp_path):
    write_csv(take(3), tmp_path / "take.csv")
    lines = (tmp_path / "take.csv").read_text().splitlines()
    assert lines[0].startswith("Timecode,BlendshapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft")
    assert lines[0].endswith("TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,"
                             "RightEyeYaw,RightEyePitch,RightEyeRoll")  # fmt: skip
    assert len(HEADER) == 63 and {name for name in map(canonical, HEADER) if name in SHAPES} == set(SHAPES)
    assert [line.split(",")[0] for line in lines[1:]] == ["00:00:00:00.000", "00:00:00:02.000", "00:00:00:04.000"]


def test_timecodes_start_at_zero_pass_midnight_and_count_their_own_frames(tmp_path):
    codes = [f"23:59:{s:02d}:{f:02d}.{100 * k}" for k, (s, f) in enumerate([(58, 59), (59, 0), (59, 1)])]
    assert np.allclose(read_take(written(tmp_path / "a.csv", live_link(codes))).times, [0, 1.1 / 60, 2.2 / 60])
    codes = ["23:59:59:59.0", "00:00:00:00.0", "00:00:00:01.0"]
    assert np.allclose(read_take(written(tmp_path / "a.csv", live_link(codes))).times, [0, 1 / 60, 2 / 60])
    codes = [f"00:00:{i // 30:02d}:{i % 30:02d}" for i in range(150)]
    assert np.allclose(read_take(written(tmp_path / "a.csv", live_link(codes))).times, np.arange(150) / 30)
    codes = ["00:00:01:03"] * 4  # a clock that stands still
    assert np.allclose(read_take(written(tmp_path / "a.csv", live_link(codes))).times, np.arange(4) / 60)


def test_frames_without_a_face_are_interpolated_and_told(tmp_path):
    lines = live_link([f"00:00:00:{i:02d}" for i in range(5)], [0.0, 0.2, 0, 0.6, 0.8]).splitlines()
    lines[3] = "00:00:00:02,0"
    found = read_take(written(tmp_path / "a.csv", "\n".join(lines)))
    assert np.allclose(found.weights[:, JAW], [0, 0.2, 0.4, 0.6, 0.8])
    assert found.notes == ("The face is missing in 1 of 5 frames; they are interpolated.",)
    assert "no face in any frame" in refused(written(tmp_path / "a.csv", "\n".join([lines[0], lines[3]])))


# --- Other tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "jawOpen,eyeBlinkLeft,mouthSmileRight\n.5,.25,1\n.5,.25,1\n",
        "frame;mouthSmile_R;JAWOPEN;eyeBlink_L;somethingElse\n1;1,0;0,5;0,25;x\n2;1,0;0,5;0,25;y\n",
        "time\tEyeBlink_L\tMouthSmile_R\tjaw_open\n0.0\t.25\t1\t.5\n0.0166666667\t.25\t1\t.5\n",
        "\ufeffJawOpen,EyeBlink.L,Mouth Smile Right\r\n50,25,100\r\n50,25,100\r\n\r\n",
    ],
)
def test_tables_of_any_order_case_and_separator(tmp_path, text):
    found = read_take(written(tmp_path / "any.csv", text))
    expected = np.zeros(52)
    expected[[JAW, BLINK, SMILE]] = 0.5, 0.25, 1
    assert found.weights.dtype == np.float32 and found.weights.shape == (2, 52)
    assert np.allclose(found.weights, expected)
    assert found.head.shape == (2, 3) and not found.head.any()
    assert np.allclose(found.times, [0, 1 / 60])


@pytest.mark.parametrize(
    ("column", "cells"),
    [("time", (3, 3.04, 3.08)), ("timestamp_ms", (10, 50, 90)), ("Time", (1000, 1040, 1080)), ("t", (0, 0.04, 0.08))],
)
def test_times_in_seconds_and_milliseconds(tmp_path, column, cells):
    rows = "".join(f"{cell},.5\n" for cell in cells)
    assert np.allclose(read_take(written(tmp_path / "a.csv", f"{column},jawOpen\n{rows}")).times, [0, 0.04, 0.08])


def test_weights_are_clipped_and_degrees_become_radians(tmp_path):
    found = read_take(written(tmp_path / "a.csv", "jawOpen,HeadYaw,HeadPitch,headRoll\n1.2,30,-10,5\n-.1,0,0,0\n"))
    assert found.weights[:, JAW].tolist() == [1, 0]
    assert np.allclose(found.head[0], np.radians([30, -10, 5]))


def test_every_name_is_known_in_every_spelling():
    for name in SHAPES:
        stem, side = next(((name[: -len(s)], s) for s in ("Left", "Right") if name.endswith(s)), (name, ""))
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        spellings = {name, name.upper(), name[0].upper() + name[1:], snake}
        if side:
            spellings |= {f"{stem}_{side[0]}", f"{stem}{side[0]}", f"{stem}.{side[0].lower()}"}
        assert {canonical(spelling) for spelling in spellings} == {name}
    assert canonical("browInnerUp_L") == "browInnerUp"
    assert [canonical(name) for name in ("jaw", "Timecode", "", "l", "headAngle")] == [None] * 5


# --- JSON -----------------------------------------------------------------------------------------------------------

WEIGHTS = {"jawOpen": 0.5, "eyeBlinkLeft": 0.25, "mouthSmileRight": 1.0}
NAMES, ROW = list(WEIGHTS), list(WEIGHTS.values())
LAYOUTS = {
    "frames with shapes": [{"time": i / 25, "blendShapes": WEIGHTS} for i in range(3)],
    "frames that are shapes": {"fps": 25, "frames": [WEIGHTS] * 3},
    "names and rows": {"names": NAMES, "frames": [ROW] * 3, "frameRate": 25},
    "names and weights": {"blendShapeNames": NAMES, "weights": [ROW] * 3, "fps": 25},
    "names and timed rows": {"names": NAMES, "frames": [{"t": 40 * i, "w": ROW, "position": [1, 2]} for i in range(3)]},
    "Audio2Face": {"exportFps": 25.0, "trackPath": "a.wav", "numPoses": 3, "numFrames": 3,
                   "facsNames": ["JawOpen", "eyeBlink_L", "MOUTHSMILERIGHT"], "weightMat": [ROW] * 3},
    "scores": [{"timestampMs": 40 * i, "faceBlendshapes": [
        {"categories": [{"index": 1, "categoryName": n, "score": w} for n, w in WEIGHTS.items()]}]} for i in range(3)],
    "numbered": {"fps": 25, "animation": {str(i): {"Facial": {"Names": NAMES, "Weights": ROW}} for i in (2, 0, 1)}},
    "timecodes": [{"timecode": f"10:00:00:{code}", "shapes": WEIGHTS} for code in ("00", "02.4", "04.8")],
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_json_layouts(tmp_path, layout):
    found = read_take(written(tmp_path / "take.json", json.dumps(LAYOUTS[layout])))
    expected = np.zeros(52)
    expected[[JAW, BLINK, SMILE]] = ROW
    assert np.allclose(found.weights, expected) and found.weights.shape == (3, 52)
    assert np.allclose(found.times, [0, 0.04, 0.08], atol=1e-4)


def test_json_may_hide_behind_another_suffix_and_has_a_head(tmp_path):
    frames = [{"blendShapes": {"jawOpen": 0.1 * i}, "HeadYaw": 0.3} for i in range(4)]
    found = read_take(written(tmp_path / "take.txt", "\n " + json.dumps(frames)))
    assert np.allclose(found.weights[:, JAW], [0, 0.1, 0.2, 0.3]) and np.allclose(found.head[:, 0], 0.3)
    frames[2] = {"blendShapes": {}}
    found = read_take(written(tmp_path / "take.txt", json.dumps(frames)))
    assert np.allclose(found.weights[:, JAW], [0, 0.1, 0.2, 0.3]) and found.notes


# --- What is no take ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "no column"),
        ("a.csv", "name,age\nx,3\n", "no face capture"),
        ("a.csv", "jawOpen\n", "no frames"),
        ("a.csv", "time,jawOpen\n0,1\n1,abc\n", "'abc' instead of a number in line 3"),
        ("a.csv", "jawOpen\nnan\n", "'nan'"),
        ("a.csv", "jawOpen\ninf\n", "'inf'"),
        ("a.csv", bytes(range(128, 200)) * 9, "not a text file"),
        ("a.csv", "jawOpen," * 3000 + "\n1\n", "columns"),
        ("a.csv", 'jawOpen\n"' + "9" * 200_000 + '"\n', "damaged"),
        ("a.json", "{", "cannot be read as JSON"),
        ("a.json", "[]", "no list of frames"),
        ("a.json", "3", "no list of frames"),
        ("a.json", '{"frames": [{"a": 1}]}', "no name of a face shape"),
        ("a.json", '[{"jawOpen": NaN}]', "NaN"),
        ("a.json", '{"names": ["jawOpen"], "frames": [[1, 2]]}', "2 weights for 1 names"),
        ("a.json", "[" * 5000 + "]" * 5000, "nested"),
        ("a.json", '[{"jawOpen": 1e999}]', "infinite"),
        ("a.json", '[{"jawOpen": 1' + "0" * 400 + "}]", "infinite"),
    ],
)
def test_one_sentence_about_what_is_wrong(tmp_path, name, content, words):
    assert words in refused(written(tmp_path / name, content))


def test_bounds(tmp_path, monkeypatch):
    path = written(tmp_path / "a.csv", "jawOpen\n" + "0\n" * 40)
    document = written(tmp_path / "a.json", json.dumps([{"jawOpen": 0}] * 40))
    monkeypatch.setattr(capture, "FRAMES_MAX", 30)
    monkeypatch.setattr(capture_json, "FRAMES_MAX", 30)
    assert "more than 30 frames" in refused(path) and "more than 30 frames" in refused(document)
    monkeypatch.setattr(capture, "SIZE_MAX", 50)
    monkeypatch.setattr(capture_json, "SIZE_MAX", 10)
    assert "larger than" in refused(path)
    monkeypatch.setattr(capture, "SIZE_MAX", 5000)
    assert "longer than 10 bytes" in refused(document)
    assert "no file" in refused(tmp_path / "missing.csv")
    assert "not a file" in refused(tmp_path)


def test_a_take_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(FaceLiftError, match="Cannot write"):
        write_csv(take(2), tmp_path / "no" / "take.csv")
    assert not list(tmp_path.iterdir())


# --- Resampling and the head ----------------------------------------------------------------------------------------


def test_resampling_interpolates_and_keeps_the_ends():
    original = take(31, 30)
    double = resample(original, 60)
    assert len(double) == 61 and np.allclose(double.times, np.arange(61) / 60)
    assert np.allclose(double.weights[::2], original.weights, atol=1e-6)
    assert np.allclose(double.weights[1::2], (original.weights[1:] + original.weights[:-1]) / 2, atol=1e-6)
    assert len(resample(take(1), 24)) == 1
    for fps in (0, -1, math.nan, 1e9):
        with pytest.raises(FaceLiftError, match="frame rate"):
            resample(original, fps)


def test_the_head_turns_the_short_way():
    head = np.array([[3.1, 0, 0], [-3.1, 0, 0]], np.float32)
    turned = resample(Take(np.zeros((2, 52), np.float32), head, np.array([0.0, 1.0])), 2)
    assert abs(abs(turned.head[1, 0]) - math.pi) < 1e-5


@pytest.mark.parametrize(
    ("angles", "forward", "up"),
    [
        ((math.pi / 2, 0, 0), (1, 0, 0), (0, 0, 1)),  # faces −Y at rest; its left is +X
        ((0, math.pi / 2, 0), (0, 0, 1), (0, 1, 0)),
        ((0, 0, math.pi / 2), (0, -1, 0), (-1, 0, 0)),
    ],
)
def test_directions_of_the_angles(angles, forward, up):
    rotation = Take(np.zeros((1, 52), np.float32), np.float32([angles]), np.zeros(1)).rotations[0]
    assert np.allclose(rotation @ [0, -1, 0], forward, atol=1e-6) and np.allclose(rotation @ [0, 0, 1], up, atol=1e-6)


def test_blenders_python_can_read_takes():
    code = "import sys, facelift_core.animation.capture; print({'torch', 'scipy', 'cv2', 'PIL'} & set(sys.modules))"
    folder = str(Path(capture.__file__).parents[2])
    answer = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": folder}, capture_output=True, text=True)
    assert answer.stdout.strip() == "set()", answer.stderr
