"""``facelift-train face-tracking``: measures how faces answer to expressions (``animation/response.py``)."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from ..align.landmarks import COUNT
from ..animation.chart import Chart
from ..animation.response import POINTS, POSE_TERMS, Response, aligned, encode_response, pose_terms
from ..animation.rig import SHAPES
from ..files import replacing
from .tracked_faces import Faces, observe

SEED = 400_000
ROUNDS = 8
PEOPLE, NOISE = 40, 60
"""Components of neutral faces and of the noise; at most half the number of people."""
RIDGE, POSE_RIDGE = 0.3, 0.01
"""Prior precisions of displacements, in units of those of the noise."""
SHRINKAGE = 0.2
"""Share of the covariance of the noise in which different coordinates are independent."""
LEAST_NOISE = 0.1
"""Variance of each coordinate at least, relative to the mean."""
LEAST_GAIN_NOISE = 1e-6
"""The same where nothing else keeps the covariance from being singular."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--people", type=int, default=160, help="synthetic people (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Measure, write the file, and print the checksum for ``facelift_core/animation/response.py``."""
    people = tqdm(observe(range(SEED, SEED + args.people)), total=args.people, unit="person", mininterval=5)
    content = encode_response(make_response(Faces.of(people)))
    with replacing(args.output) as temporary:
        temporary.write_bytes(content)
    print(f"{args.output}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def make_response(faces: Faces) -> Response:
    """Measure the response on faces of at least ten people."""
    mean, steadiness = _mean_face(faces)
    faces = both_ways(faces, mean)
    mean, steadiness = _mean_face(faces)
    placed, angles = aligned(faces.points.astype(np.float64), mean, steadiness)
    laid = np.round(placed.mean(0)[:COUNT, :2], 4).astype(np.float32)
    chart = Chart(laid)
    flat = [chart.flat(*face) for face in zip(faces.pictures, faces.points, strict=True)]
    skin = [chart.moved(flat[rest], face) for face, rest in zip(flat, faces.rest, strict=True)]
    seen = np.column_stack([placed.reshape(len(placed), -1), np.array(skin, np.float64)])

    _, person = np.unique(faces.person, return_inverse=True)
    causes = np.concatenate([faces.weights, pose_terms(angles)], axis=1).astype(np.float64)
    # Differences between views of one person do not depend on the person's neutral face.
    moved, because = _within(seen, person), _within(causes, person)
    ridge = np.diag([RIDGE] * len(SHAPES) + [POSE_RIDGE] * POSE_TERMS)
    effects = np.linalg.solve(because.T @ because + ridge, because.T @ moved)
    shapes, poses = effects[: len(SHAPES)], effects[len(SHAPES) :]

    count, people = len(seen), int(person.max()) + 1
    left = (moved - because @ effects) * np.sqrt(count / (count - people))
    noise, noise_rest = _components(left, NOISE)
    gain, points_gain = (_gain(shapes[:, :size], left[:, :size]) for size in (seen.shape[1], 3 * POINTS))
    neutral = _means(seen - causes @ effects, person)
    middle = neutral.mean(0)
    components, rest = _components(neutral - middle, min(PEOPLE, people // 2))
    told = np.column_stack([angles, np.ones(count)])
    turned = np.linalg.lstsq(told, faces.head, rcond=None)[0].T
    return Response(
        middle, components, rest, shapes, poses, noise, noise_rest, gain, points_gain, steadiness, laid, turned
    )


def _mean_face(faces: Faces) -> tuple[np.ndarray, np.ndarray]:
    """(470, 3) mean face, from the front, and (468,) how steady its landmarks are."""
    _, person = np.unique(faces.person, return_inverse=True)
    points = faces.points.astype(np.float64)
    front = points[np.unique(faces.rest)]
    mean, steadiness = (front - front.mean(1, keepdims=True)).mean(0), np.ones(COUNT)
    for _ in range(ROUNDS):
        mean /= np.sqrt((mean**2).sum(1).mean())
        placed, _ = aligned(points, mean, steadiness)
        mean = placed.mean(0)
        spread = (_within(placed, person)[:, :COUNT] ** 2).sum(2).mean(0)
        steadiness = 1 / (spread + np.percentile(spread, 10))
    return mean, steadiness


def both_ways(faces: Faces, mean: np.ndarray) -> Faces:
    """The faces, and then the same as in a mirror; `mean` is the (470, 3) mean face."""
    marks = mean[:COUNT]
    far = ((marks[:, None] * [-1, 1, 1] - marks) ** 2).sum(-1)
    other = np.r_[linear_sum_assignment(far)[1], COUNT + 1, COUNT]
    sides = [SHAPES.index(_other_side(name)) for name in SHAPES]
    points = faces.points[:, other] * np.float32([-1, 1, 1]) + np.float32([faces.pictures.shape[2], 0, 0])
    return Faces(
        np.concatenate([faces.person, -1 - faces.person]),
        np.concatenate([faces.weights, faces.weights[:, sides]]),
        np.concatenate([faces.head, faces.head * np.float32([-1, 1, -1])]),
        np.concatenate([faces.points, points]),
        np.concatenate([faces.pictures, faces.pictures[:, :, ::-1]]),
        np.concatenate([faces.rest, faces.rest + len(faces.rest)]),
    )


def _other_side(name: str) -> str:
    if "Left" in name:
        return name.replace("Left", "Right")
    return name.replace("Right", "Left")


def _means(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    total = np.zeros((person.max() + 1, *values.shape[1:]))
    np.add.at(total, person, values)
    return total / np.bincount(person).reshape(-1, *[1] * (values.ndim - 1))


def _within(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """`values` less the mean of each person."""
    return values - _means(values, person)[person]


def _gain(shapes: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(52, D) shapes times the inverse covariance of the noise, of which (N, D) is left."""
    covariance = left.T @ left / len(left)
    covariance += SHRINKAGE * (np.diag(np.diag(covariance)) - covariance)
    covariance += LEAST_GAIN_NOISE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.linalg.solve(covariance, shapes.T).T


def _components(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, D) principal components of 1 standard deviation, and the (D,) variance that they lack."""
    _, size, axes = np.linalg.svd(rows / np.sqrt(len(rows)), full_matrices=False)
    components = size[:count, None] * axes[:count]
    rest = np.maximum((rows**2).mean(0) - (components**2).sum(0), 0)
    return components, rest + LEAST_NOISE * max(rest.mean(), (rows**2).mean() / 100)
