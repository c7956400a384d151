"""A video of a face to the weights of its expressions and the turns of its head, frame by frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter1d
from scipy.signal import savgol_filter

from ..align.faces import chosen_first, find_faces
from ..align.landmarks import Landmarks, Region, landmark_network, look_for_landmarks
from ..errors import FaceLiftError
from ..progress import Cancel, Monitor, ProgressCallback
from .chart import Chart, close_up
from .iris import iris_centers
from .response import POINTS, Response, aligned, load_response, pose_terms, with_irises
from .rig import SHAPES
from .take import HEAD, Take, assemble
from .video import SECONDS_MAX, frames, open_video

SAMPLE = 200
"""Frames from which the neutral face of the person is found."""
ROUNDS = 5
INDEPENDENT = 4.0
"""Frames of a person count as this many independent ones, because the detector errs alike in all of them."""
AT_REST, CALM = 10, 30
"""Every shape is taken to be at rest in this percentage of the frames; the person's own face is what the frames show in
which least happens, this percentage of all."""
PRECISION, PAIRING = 2.0, 40.0
"""Prior precision of the weights, and of the differences between the sides."""
SPARSITY, RARE_SPARSITY, FAINT_SPARSITY = 0.7, 3.0, 0.35
"""Deviations of the noise by which a movement has to exceed it before a weight leaves 0: common, rare, faint shapes."""
RARE = (
    "cheek", "jawForward", "jawLeft", "jawRight", "mouthDimple", "mouthLeft", "mouthPress", "mouthRight", "mouthRoll",
    "mouthShrug", "mouthStretch", "noseSneer", "tongueOut",
)  # fmt: skip
"""Beginnings of the names of shapes that faces show seldom, and whose landmarks resemble those of common ones."""
FAINT = "browInnerUp", "browOuterUp"
"""Beginnings of the names of common shapes that move the face little, but resemble no other."""
ACTIVE, ACTIVE_SECONDS = 0.3, 1.0
"""A shape that is as strong as this within this time has to exceed the noise by about half as much, others by more."""
STRONGEST, PEAK = 4.0, 99
"""Landmarks of real people move up to this much farther than those of the synthetic people that were measured; the
strength that a shape exceeds in less than 1 % of the frames then counts as 1."""
SMOOTH_SECONDS = 0.2
"""Length of the window in which a parabola replaces the frames; short enough for a blink."""
BLOCK = 1000
"""Frames that are computed together."""
SEARCH_EVERY = 5
"""While no face is found, every how many frames the whole picture is searched for one."""
PAIRS = tuple(
    [SHAPES.index(name), SHAPES.index(name.replace("Left", "Right"))]
    for name in SHAPES
    if name.endswith("Left") and not name.startswith(("jaw", "mouthLeft", "eyeLookIn", "eyeLookOut"))
)
"""Shapes of the left and the right side that mostly move together."""
SWEEPS, CLOSE = 60, 1e-3
LEAST_INFORMATION = 1.0


def track_video(
    path: str | Path,
    progress: ProgressCallback | None = None,
    cancelled: Cancel | None = None,
    response: Response | None = None,
) -> Take:
    """Find the expressions of the person in a video; of several people, of the one who is largest at first.

    Works best when the face fills a third of the picture, is lit evenly, and is at rest for a moment.

    Args:
        path: a video of any common format; of one longer than ten minutes, the beginning is used.
        progress: called with the stage "track", a fraction, and a message.
        cancelled: polled before each frame; returns true to stop.
        response: how the head that will perform the take answers to its expressions, as of
            :func:`.own_response.with_answers_of`; by default, how people do on average.

    Returns:
        One frame per frame of the video. Those without a face are interpolated, which a note tells.

    Raises:
        FaceLiftError: the video cannot be read, or shows no face.
        Cancelled: `cancelled` returned true.
    """
    video = open_video(path)
    response, monitor = response or load_response(), Monitor("track", progress, cancelled)
    length = min(video.seconds, SECONDS_MAX)
    times, seen = [], []
    follow = Follower(response.chart)
    for frame in frames(video):
        monitor(min(frame.time / length, 1.0) if length else 0.0, f"Frame {len(times) + 1}")
        times.append(frame.time)
        seen.append(follow(frame.pixels))
    found = np.array([each is not None for each in seen])
    if not found.any():
        raise FaceLiftError(f"No face was found in {video.path.name}; use a video that shows one face from the front.")
    notes = (f"Only the first {SECONDS_MAX // 60} minutes were used.",) if video.seconds > SECONDS_MAX + 1 else ()
    points, faces = (np.array(each) for each in zip(*filter(None, seen), strict=True))
    take = expressions(np.array(times), found, points, faces, response)
    monitor(1.0, "Video tracked")
    return Take(take.weights, take.head, take.times, take.notes + notes)


class Follower:
    """Finds the landmarks of one face in the frames of a video, each near those of the frame before."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        self._network: cv2.dnn.Net = landmark_network()
        self._last: Landmarks | None = None
        self._lost = 0

    def __call__(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """(470, 3) float32 landmarks and irises in a frame, (H, W, 3) uint8 RGB, and the (128, 128) uint8 face, laid
        flat; None if it shows no face."""
        found = None
        if self._last is not None:
            found = look_for_landmarks(self._network, pixels, Region.around(self._last.points))
        if found is None and self._lost % SEARCH_EVERY == 0:
            faces = chosen_first(find_faces(Image.fromarray(pixels)))
            found = look_for_landmarks(self._network, pixels, Region.of_box(faces[0].box)) if faces else None
        self._last, self._lost = found, 0 if found else self._lost + 1
        if found is None:
            return None
        points = with_irises(found.points, iris_centers(pixels, found.points)).astype(np.float32)
        return points, self._chart.flat(*close_up(pixels, points))


def expressions(
    times: np.ndarray, found: np.ndarray, points: np.ndarray, faces: np.ndarray, response: Response
) -> Take:
    """The take that the frames of a video show.

    Args:
        times: (T,) increasing seconds.
        found: (T,) bool, whether a frame shows a face.
        points: (F, 470, 3) landmarks and irises in pixels of the F frames that do.
        faces: (F, 128, 128) uint8, their faces laid flat.
    """
    seen, told = np.empty((len(points), response.mean.size), np.float32), np.empty((len(points), 3))
    marks, mean = seen[:, : 3 * POINTS], response.mean[: 3 * POINTS].reshape(POINTS, 3)
    for block in _blocks(len(points)):
        placed, told[block] = aligned(points[block].astype(np.float64), mean, response.steadiness)
        marks[block] = placed.reshape(len(placed), -1)
    _, calmest = _neutral_face(marks, told, response.of_points)
    # The skin is compared with the face at rest that looks most straight at the camera.
    rest = calmest[np.argmin((_head(told[calmest], response)[:, :2] ** 2).sum(1))]
    for seen_by, face in zip(seen, faces, strict=True):
        seen_by[3 * POINTS :] = response.chart.moved(faces[rest], face)
    return interpreted(times, found, seen, told, response)


def interpreted(times: np.ndarray, found: np.ndarray, seen: np.ndarray, told: np.ndarray, response: Response) -> Take:
    """The take that explains best what is seen, (F, D), of faces whose alignment told the angles (F, 3)."""
    information, push = _prior(response)
    person, _ = _neutral_face(seen, told, response)
    evidence = np.empty((len(seen), len(SHAPES)))
    for block in _blocks(len(seen)):
        evidence[block] = (_unturned(seen[block], told[block], response) - person) @ response.gain.T
    evidence = _smooth(evidence, times[found])
    strengths = most_probable(information, evidence - push)
    window = max(1, int(ACTIVE_SECONDS / _step(times[found])))
    push = push * 0.5 / (maximum_filter1d(strengths, window, axis=0) + ACTIVE)
    strengths = most_probable(information, evidence - push, strengths)
    peaks = np.percentile(strengths, PEAK, axis=0)
    for pair in PAIRS:
        peaks[pair] = peaks[pair].max()
    weights = np.full((len(times), len(SHAPES)), np.nan)
    weights[found] = strengths / np.maximum(peaks, 1)
    head = np.full((len(times), 3), np.nan)
    head[found] = _smooth(_head(told, response), times[found])
    return assemble(dict(zip((*SHAPES, *HEAD), np.column_stack([weights, head]).T, strict=True)), times)


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + BLOCK) for start in range(0, count, BLOCK)]


def _head(told: np.ndarray, response: Response) -> np.ndarray:
    """(F, 3) angles of the head, from those of the alignment."""
    return np.column_stack([told, np.ones(len(told))]) @ response.turned.T


def _unturned(seen: np.ndarray, told: np.ndarray, response: Response) -> np.ndarray:
    """(F, D) what is seen, without what the turns of the head do to it."""
    return seen - pose_terms(told) @ response.poses


def _neutral_face(seen: np.ndarray, told: np.ndarray, response: Response) -> tuple[np.ndarray, np.ndarray]:
    """(D,) the person without expression, and the numbers of the calmest frames of a sample."""
    sample = np.unique(np.linspace(0, len(seen) - 1, SAMPLE).astype(int))
    chosen = _unturned(seen[sample], told[sample], response)
    information, push = _prior(response)
    person, weights = response.mean, np.zeros((len(chosen), len(SHAPES)))
    for _ in range(ROUNDS):
        mean = (chosen - weights @ response.shapes).mean(0)
        person = response.neutral(mean, min(INDEPENDENT, len(chosen)))
        weights = most_probable(information, (chosen - person) @ response.gain.T - push, weights)
    # No prior any more: whatever the calmest frames show beyond what acts in them is the person's own face.
    effort = weights @ np.sqrt(np.maximum(np.diag(response.information), 0))
    calmest = np.argsort(effort)[: max(1, len(chosen) * CALM // 100)]
    acting = weights[calmest] - np.percentile(weights, AT_REST, axis=0)
    return (chosen[calmest] - acting @ response.shapes).mean(0), sample[calmest]


def _prior(response: Response) -> tuple[np.ndarray, np.ndarray]:
    """(52, 52) precision of the weights, of what is seen and of the prior; and (52,) what pushes them to 0."""
    information = response.information + PRECISION * np.eye(len(SHAPES))
    for pair in PAIRS:
        information[np.ix_(pair, pair)] += PAIRING * np.array([[1, -1], [-1, 1]])
    sparsity = np.array([_sparsity(name) for name in SHAPES])
    return information, sparsity * np.sqrt(np.maximum(np.diag(response.information), LEAST_INFORMATION))


def _sparsity(name: str) -> float:
    if name.startswith(RARE):
        return RARE_SPARSITY
    return FAINT_SPARSITY if name.startswith(FAINT) else SPARSITY


def most_probable(information: np.ndarray, evidence: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
    """(T, n) strengths from 0 to 4 that minimize w·information·w / 2 − evidence·w, by coordinate descent."""
    weights = np.zeros_like(evidence) if start is None else start.copy()
    for _ in range(SWEEPS):
        before = weights.copy()
        for k in range(weights.shape[1]):
            slope = evidence[:, k] - weights @ information[k]
            weights[:, k] = np.clip(weights[:, k] + slope / information[k, k], 0, STRONGEST)
        if np.abs(weights - before).max() < CLOSE:
            break
    return weights


def _step(times: np.ndarray) -> float:
    """Seconds between frames."""
    return float(np.median(np.diff(times))) if len(times) > 1 else 1.0


def _smooth(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(F, n) values without the jitter of the detector."""
    window = min(2 * int(SMOOTH_SECONDS / _step(times) / 2) + 1, len(times) - 1 + len(times) % 2)
    return savgol_filter(values, window, 2, axis=0) if window >= 5 else values
