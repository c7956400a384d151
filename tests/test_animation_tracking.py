"""Videos of faces: frames, landmarks that are followed, expressions, and the job."""

from __future__ import annotations

import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from scipy.optimize import lsq_linear
from skimage import data
from synthetic_rig import make_rig

from facelift_core.animation import SHAPES, chart, own_response, response, rigging, tracking, video
from facelift_core.animation.capture import read_take
from facelift_core.animation.response import POINTS, aligned, head_angles, load_response, pose_terms
from facelift_core.animation.take import Take
from facelift_core.errors import FaceLiftError
from facelift_core.jobs import handlers, track
from facelift_core.jobs.reconstruct import Models
from facelift_core.processes.protocol import Done, Failed, Progress, Stopped
from facelift_core.training.face_tracking import make_response
from facelift_core.training.performance import FPS, performance, pictures, write_frames
from facelift_core.training.tracked_faces import Faces

SEED = 5_000_002
FRAMES = 36


def encode(path: Path, *options: str) -> Path:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *options, str(path)], check=True)
    return path


def bars(path: Path, size: str = "320x240", rate: str = "25", seconds: str = "1", *options: str) -> Path:
    return encode(path, "-f", "lavfi", "-i", f"testsrc=s={size}:r={rate}:d={seconds}", *options)


def read(path: Path) -> list[video.Frame]:
    return list(video.frames(video.open_video(path)))


# --- Videos ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "rate", "shape", "count"),
    [
        ("a.mp4", "320x240", "25", (240, 320, 3), 25),
        ("a.webm", "322x242", "10", (242, 322, 3), 10),
        ("a.gif", "100x80", "10", (80, 100, 3), 10),
        ("a.mov", "1600x900", "5", (720, 1280, 3), 5),
    ],
)
def test_frames_of_common_formats(tmp_path, name, size, rate, shape, count):
    frames = read(bars(tmp_path / name, size, rate))
    assert len(frames) == count and {frame.pixels.shape for frame in frames} == {shape}
    assert np.allclose([frame.time for frame in frames], np.arange(count) / int(rate))
    assert frames[0].pixels.std() > 50


def test_phones_are_turned_upright_and_fast_cameras_slowed(tmp_path):
    bars(tmp_path / "a.mp4", "320x240", "240")
    encode(tmp_path / "turned.mp4", "-display_rotation", "90", "-i", str(tmp_path / "a.mp4"), "-c", "copy")
    frames = read(tmp_path / "turned.mp4")
    assert frames[0].pixels.shape == (320, 240, 3) and 58 <= len(frames) <= 63
    assert abs(frames[-1].time - 1) < 0.05


def test_colors_are_those_of_the_picture(tmp_path):
    encode(tmp_path / "a.mp4", "-f", "lavfi", "-i", "color=c=0x40a0c0:s=64x64:d=0.2", "-pix_fmt", "yuv420p")
    assert np.abs(read(tmp_path / "a.mp4")[0].pixels.mean((0, 1)) - [64, 160, 192]).max() < 6


def test_what_is_no_video(tmp_path):
    (tmp_path / "text.mp4").write_text("This is no video.")
    bars(tmp_path / "real.ts")
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{tmp_path / 'real.ts'}\n")
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile real.ts\n")
    encode(tmp_path / "sound.mp4", "-f", "lavfi", "-i", "sine=d=0.2")
    for name in ("text.mp4", "list.mp4", "list.ffconcat", "sound.mp4"):
        with pytest.raises(FaceLiftError, match="cannot be read as a video"):
            read(tmp_path / name)
    with pytest.raises(FaceLiftError, match="There is no video"):
        video.open_video(tmp_path / "missing.mp4")
    with pytest.raises(FaceLiftError, match="There is no video"):
        video.open_video(tmp_path)


def test_a_cut_off_video_gives_the_frames_it_has(tmp_path):
    whole = bars(tmp_path / "whole.ts", "320x240", "25", "4").read_bytes()
    (tmp_path / "part.ts").write_bytes(whole[: len(whole) // 2])
    assert 10 < len(read(tmp_path / "part.ts")) < 100


def test_ffmpeg_ends_with_the_reader_and_when_it_stalls(tmp_path, monkeypatch):
    started = []

    class Watched(video.launch.Process):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    path = bars(tmp_path / "a.mp4", seconds="20")
    opened = video.open_video(path)
    monkeypatch.setattr(video.launch, "Process", Watched)
    frames = video.frames(opened)
    next(frames)
    frames.close()
    assert started[0].poll() is not None
    monkeypatch.setattr(video, "STALLED", 0.3)
    monkeypatch.setattr(video, "_SCALE", "realtime=speed=0.01,format=yuv420p")
    with pytest.raises(FaceLiftError, match="cannot be read"):
        list(video.frames(opened))
    assert started[1].poll() is not None


# --- Skin -------------------------------------------------------------------------------------------------------------


def test_a_face_is_laid_flat_wherever_it_is_and_its_skin_followed():
    """A textured plane that turns, grows, and moves is laid flat as before; texture that slips shows as moved."""
    rng = np.random.default_rng(3)
    marks = rng.uniform(-1, 1, (468, 2))
    flat_face = chart.Chart(marks)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (800, 800)).astype(np.float32), (0, 0), 9)
    texture = cv2.cvtColor(cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8), cv2.COLOR_GRAY2RGB)

    def laid(angle: float, zoom: float, slip: float = 0.0) -> np.ndarray:
        turn = cv2.getRotationMatrix2D((400, 400), angle, zoom)
        frame = cv2.warpAffine(texture, turn, (800, 800), flags=cv2.INTER_AREA)
        places = (marks * 220 + 400 - [slip, 0]) @ turn[:, :2].T + turn[:, 2] + 0.5
        return flat_face.flat(*chart.close_up(frame, np.column_stack([places, np.zeros(468)])))

    rest = laid(0, 1)
    for other in (laid(30, 1), laid(0, 0.5), laid(-15, 1.4)):
        assert np.abs(flat_face.moved(rest, other)).mean() < 0.004  # a quarter of a pixel
    found = flat_face.moved(rest, laid(10, 1, slip=6.6)).reshape(-1, 2)
    assert np.allclose(np.median(found, axis=0), [0.03, 0], atol=0.003)


# --- Expressions ----------------------------------------------------------------------------------------------------


def seen_by(known: response.Response, take: Take, person: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, D) what the response says that frames show, and (T, 3) the angles that the alignment tells."""
    angles = take.head.astype(np.float64)
    told = (angles - known.turned[:, 3]) @ np.linalg.inv(known.turned[:, :3]).T
    return person + take.weights @ known.shapes + pose_terms(told) @ known.poses, told


def points_of(seen: np.ndarray, told: np.ndarray, take: Take) -> np.ndarray:
    """(T, 470, 3) points in pixels of a camera in front."""
    turns = Take(take.weights, told.astype(np.float32), take.times).rotations
    to_camera = response.CAMERA_TO_WORLD.T @ turns @ response.CAMERA_TO_WORLD
    return np.einsum("tij,tlj->tli", to_camera, seen[:, : 3 * POINTS].reshape(-1, POINTS, 3)) * 60 + [200, 300, 0]


def test_expressions_and_turns_are_found_again():
    known, truth = load_response(), performance(FRAMES)
    person = known.mean + known.people[:3].sum(0)
    seen, told = seen_by(known, truth, person)
    found = np.ones(FRAMES, bool)
    found[20:22] = False
    take = tracking.interpreted(truth.times, found, seen[found], told[found], known)
    driven = truth.weights.any(0)
    assert take.notes == ("The face is missing in 2 of 36 frames; they are interpolated.",)
    assert np.abs(take.weights - truth.weights)[:, driven].mean() < 0.06
    assert np.abs(take.weights - truth.weights)[:, ~driven].mean() < 0.03
    assert np.degrees(np.abs(take.head - truth.head)).mean() < 1.5


def test_a_person_whose_face_moves_farther_is_not_cut_off():
    known, truth = load_response(), performance(FRAMES)
    farther = Take(truth.weights * 2.5, truth.head, truth.times)
    take = tracking.interpreted(truth.times, np.ones(FRAMES, bool), *seen_by(known, farther, known.mean), known)
    for name in ("eyeBlinkLeft", "jawOpen", "mouthSmileLeft"):
        k = SHAPES.index(name)
        assert np.corrcoef(take.weights[:, k], truth.weights[:, k])[0, 1] > 0.95, name
        assert 0.9 < take.weights[:, k].max() <= 1 and (take.weights[:, k] > 0.98).sum() < 4, name


def test_one_frame_is_enough():
    known, truth = load_response(), performance(1)
    take = tracking.interpreted(truth.times, np.ones(1, bool), *seen_by(known, truth, known.mean), known)
    assert take.weights.shape == (1, 52) and take.weights.mean() < 0.02


def test_most_probable_weights_are_those_of_bounded_least_squares():
    rng = np.random.default_rng(4)
    matrix, target = rng.normal(size=(40, 8)), rng.normal(size=(40, 5)) * 20
    found = tracking.most_probable(matrix.T @ matrix, (matrix.T @ target).T)
    for row, seen in zip(found, target.T, strict=True):
        assert np.abs(row - lsq_linear(matrix, seen, (0, tracking.STRONGEST)).x).max() < 5e-3


def test_alignment_undoes_any_turn_and_tells_it():
    rng = np.random.default_rng(0)
    angles = rng.uniform(-1, 1, (6, 3)).astype(np.float32)
    turns = Take(np.zeros((6, 52), np.float32), angles, np.arange(6.0)).rotations.astype(np.float64)
    assert np.allclose(head_angles(turns), angles, atol=1e-5)
    face = rng.normal(size=(POINTS, 3))
    to_camera = response.CAMERA_TO_WORLD.T @ turns @ response.CAMERA_TO_WORLD
    points = np.einsum("tij,lj->tli", to_camera, face) * 40 + [5, 6, 7]
    placed, told = aligned(points, face, rng.uniform(0.1, 1, POINTS - 2))
    assert np.allclose(placed, face, atol=1e-6) and np.allclose(told, angles, atol=1e-5)


def test_a_response_is_measured():
    """Faces that follow a known response: its shapes are found again."""
    known, rng = load_response(), np.random.default_rng(5)
    people, views = 30, 14
    weights = np.where(rng.random((people * views, 52)) < 0.15, rng.random((people * views, 52)), 0).astype(np.float32)
    head = rng.uniform(-0.3, 0.3, (people * views, 3)).astype(np.float32)
    own = np.repeat(known.mean + rng.normal(size=(people, 8)) @ known.people[:8], views, axis=0)
    take = Take(weights, head, np.arange(len(head), dtype=np.float64))
    seen, told = seen_by(known, take, own)
    points = points_of(seen, told, take) + rng.normal(size=(len(head), POINTS, 3)) * 0.3
    rest, pictures = np.repeat(np.arange(people) * views, views), np.zeros((len(head), 192, 192), np.uint8)
    person = np.repeat(np.arange(people), views)
    measured = make_response(Faces(person, weights, head, points.astype(np.float32), pictures, rest))
    k, size = SHAPES.index("jawOpen"), 3 * POINTS
    expected, found = known.shapes[k, :size], measured.shapes[k, :size]
    found = found / np.sqrt((measured.mean[:size] ** 2).sum() / (known.mean[:size] ** 2).sum())
    # Not exactly: the alignment, which follows what moves least, takes a part of the movement away.
    assert np.corrcoef(expected, found)[0, 1] > 0.9 and 0.8 < np.linalg.norm(found) / np.linalg.norm(expected) < 1.2
    assert measured.information[k, k] > 20 * measured.information[SHAPES.index("tongueOut")].max()


def test_a_head_that_moves_less_is_opened_farther(monkeypatch):
    """The jaw of this head answers by .6, its brows hardly at all, and its smile five times as far as measured."""
    known, answers = load_response(), np.ones(52)
    shown = []
    for stem, answer in {"jawOpen": 0.6, "browDown": 0.1, "mouthSmile": 5.0}.items():
        answers[[k for k, name in enumerate(SHAPES) if name.startswith(stem)]] = answer

    def view(rig, shapes, response):
        shown.append(list(shapes))
        return [(answers[list(shapes), None] * known.shapes[list(shapes)]).sum(0)]

    monkeypatch.setattr(own_response, "_view", view)
    monkeypatch.setattr(own_response, "_seen", lambda view, rest, response: known.mean + view[0])
    own = own_response.with_answers_of(make_rig(), known)
    limited = np.clip(answers, own_response.LEAST, own_response.MOST)
    assert np.allclose(own.shapes, limited[:, None] * known.shapes)
    assert np.allclose(own.information, limited[:, None] * limited * known.information)
    left, right = SHAPES.index("mouthSmileLeft"), SHAPES.index("mouthSmileRight")
    assert shown[0] == [] and [left, right] in shown and [SHAPES.index("jawOpen")] in shown
    truth = performance(FRAMES)
    seen, told = seen_by(own, truth, known.mean)
    jaw = SHAPES.index("jawOpen")
    before, after = (
        tracking.interpreted(truth.times, np.ones(FRAMES, bool), seen, told, each).weights[:, jaw].max()
        for each in (known, own)
    )
    assert before < 0.5 and abs(after - truth.weights[:, jaw].max()) < 0.08


def test_a_head_without_a_face_answers_like_others():
    known = load_response()
    assert np.array_equal(own_response.with_answers_of(make_rig(), known).gain, known.gain)


# --- From pictures to takes -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("film") / "acting.mp4"
    write_frames(path, pictures(SEED, performance(FRAMES)), FPS)
    return path


def test_weights_of_a_synthetic_actor(film, tmp_path):
    """Means over more people: benchmarks/face_tracking.py."""
    events, truth = [], performance(FRAMES)
    request = {"video": str(film), "output": str(tmp_path / "take.csv")}
    done = handlers.run("track", request, events.append, lambda: False, Models())
    assert done == Done({"frames": FRAMES, "seconds": (FRAMES - 1) / FPS, "notes": []})
    assert [path.name for path in tmp_path.iterdir()] == ["take.csv"]
    take = read_take(tmp_path / "take.csv")
    error, driven = np.abs(take.weights - truth.weights), truth.weights.any(0)
    assert error[:, driven].mean() < 0.06 and error.mean() < 0.03
    for column in np.flatnonzero(driven):
        acting = truth.weights[:, column] > 0.1
        assert np.corrcoef(take.weights[:, column], truth.weights[:, column])[0, 1] > 0.7, SHAPES[column]
        assert error[acting, column].mean() < 0.85 * truth.weights[acting, column].mean(), SHAPES[column]
    assert np.degrees(np.abs(np.ptp(take.head[:, 0]) - np.ptp(truth.head[:, 0]))) < 6
    assert np.corrcoef(take.head[:, 0], truth.head[:, 0])[0, 1] > 0.97
    told = [event for event in events if isinstance(event, Progress)]
    assert {event.stage for event in told} == {"track"} and told[-1].fraction == 1
    assert [event.fraction for event in told] == sorted(event.fraction for event in told)


def test_the_head_that_performs_is_asked_for_its_answers(film, tmp_path, monkeypatch):
    known, head, rig = response.load_response(), tmp_path / "head.ply", make_rig()
    rig.gaussians.to_gaussians().save(head)
    lively = replace(known, shapes=2 * known.shapes, gain=2 * known.gain, points_gain=2 * known.points_gain)

    def asked(of, general, progress, cancelled):
        assert of is rig and general.gain.shape == known.gain.shape
        progress("rig", 1.0, "Asked")
        return lively

    monkeypatch.setattr(rigging, "make_rig", lambda gaussians, progress, cancelled: rig)
    monkeypatch.setattr(own_response, "with_answers_of", asked)
    jaw, opened, told = SHAPES.index("jawOpen"), [], []
    for of in ("", str(head)):
        request = {"video": str(film), "output": str(tmp_path / "take.csv"), "head": of}
        assert isinstance(handlers.run("track", request, told.append, lambda: False, Models()), Done)
        opened.append(read_take(tmp_path / "take.csv").weights[:, jaw].max())
    assert opened[1] < 0.7 * opened[0]
    fractions = [event.fraction for event in told if event.message == "Asked"]
    assert fractions == [track.ANSWERED]


def test_cancelling_leaves_no_file(film, tmp_path):
    stop = threading.Event()
    request = {"video": str(film), "output": str(tmp_path / "take.csv")}
    assert handlers.run("track", request, lambda event: stop.set(), stop.is_set, Models()) == Stopped()
    assert not list(tmp_path.iterdir())


def test_a_video_without_a_face_is_one_sentence(tmp_path):
    request = {"video": str(bars(tmp_path / "bars.mp4", seconds="0.4")), "output": str(tmp_path / "take.csv")}
    failed = handlers.run("track", request, lambda event: None, lambda: False, Models())
    assert failed == Failed("No face was found in bars.mp4; use a video that shows one face from the front.")
    for output in ("take.txt", "no/take.csv"):
        request["output"] = str(tmp_path / output)
        assert isinstance(handlers.run("track", request, lambda event: None, lambda: False, Models()), Failed)
    assert [path.name for path in tmp_path.iterdir()] == ["bars.mp4"]


def test_a_still_photo_that_moves_keeps_its_expression(tmp_path):
    """The camera rolls and comes closer: the roll follows, the weights stay."""
    photo = Image.fromarray(data.astronaut()).crop((60, 0, 400, 340))
    steps = np.linspace(0, 1, 12)

    def frame(step: float) -> np.ndarray:
        turned = photo.rotate(-20 * step, Image.Resampling.BICUBIC)
        margin = 20 + 30 * step
        return np.asarray(
            turned.resize((320, 320), Image.Resampling.BICUBIC, (margin, margin, 340 - margin, 340 - margin))
        )

    write_frames(tmp_path / "still.mp4", map(frame, steps), 12)
    take = tracking.track_video(tmp_path / "still.mp4")
    assert len(take) == 12 and not take.notes
    assert np.abs(take.weights - np.median(take.weights, axis=0)).mean() < 0.02
    # Turned clockwise as seen, the head leans to the person's left shoulder.
    assert np.allclose(np.degrees(take.head[:, 2] - take.head[0, 2]), -20 * steps, atol=3)
    assert np.degrees(np.ptp(take.head[:, :2], axis=0)).max() < 6
