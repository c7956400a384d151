"""``facelift-train face-tracking``: measures how landmarks answer to expressions (``animation/response.py``)."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..align.landmarks import COUNT
from ..animation.response import POSE_TERMS, Response, aligned, encode_response, pose_terms
from ..animation.rig import SHAPES
from ..files import replacing
from .tracked_faces import Faces, observe

SEED = 4_000_000
ROUNDS = 8
PEOPLE, NOISE = 40, 60
"""Components of neutral faces and of the noise; at most half the number of people."""
RIDGE, POSE_RIDGE = 0.3, 0.01
"""Prior precisions of displacements, in units of those of the noise."""
SHRINKAGE = 0.2
"""Share of the covariance of the noise in which different coordinates are independent."""
LEAST_NOISE = 0.1
"""Variance of each coordinate at least, relative to the mean."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--people", type=int, default=160, help="synthetic people (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Measure, write the file, and print the checksum for ``facelift_core/animation/response.py``."""
    views = tqdm(observe(range(SEED, SEED + args.people)), unit="view", mininterval=5)
    content = encode_response(make_response(Faces.of(views)))
    with replacing(args.output) as temporary:
        temporary.write_bytes(content)
    print(f"{args.output}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def make_response(faces: Faces) -> Response:
    """Measure the response on faces of at least ten people."""
    _, person = np.unique(faces.person, return_inverse=True)
    points = faces.points.astype(np.float64)
    mean, steadiness = points[0] - points[0].mean(0), np.ones(COUNT)
    for _ in range(ROUNDS):
        mean /= np.sqrt((mean**2).sum(1).mean())
        placed, angles = aligned(points, mean, steadiness)
        mean = placed.mean(0)
        spread = (_within(placed, person)[:, :COUNT] ** 2).sum(2).mean(0)
        steadiness = 1 / (spread + np.percentile(spread, 10))
    flat = placed.reshape(len(placed), -1)
    causes = np.concatenate([faces.weights, pose_terms(angles)], axis=1).astype(np.float64)
    # Differences between views of one person do not depend on the person's neutral face.
    moved, because = _within(flat, person), _within(causes, person)
    ridge = np.diag([RIDGE] * len(SHAPES) + [POSE_RIDGE] * POSE_TERMS)
    effects = np.linalg.solve(because.T @ because + ridge, because.T @ moved)
    shapes, poses = effects[: len(SHAPES)], effects[len(SHAPES) :]

    count, people = len(flat), int(person.max()) + 1
    left = (moved - because @ effects) * np.sqrt(count / (count - people))
    noise, noise_rest = _components(left, NOISE)
    covariance = left.T @ left / count
    covariance += SHRINKAGE * (np.diag(np.diag(covariance)) - covariance)
    gain = np.linalg.solve(covariance, shapes.T).T
    neutral = _means(flat - causes @ effects, person)
    middle = neutral.mean(0)
    components, rest = _components(neutral - middle, min(PEOPLE, people // 2))
    told = np.column_stack([angles, np.ones(count)])
    turned = np.linalg.lstsq(told, faces.head, rcond=None)[0].T
    return Response(middle, components, rest, shapes, poses, noise, noise_rest, gain, steadiness, turned)


def _means(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    total = np.zeros((person.max() + 1, *values.shape[1:]))
    np.add.at(total, person, values)
    return total / np.bincount(person).reshape(-1, *[1] * (values.ndim - 1))


def _within(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """`values` less the mean of each person."""
    return values - _means(values, person)[person]


def _components(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, D) principal components of 1 standard deviation, and the (D,) variance that they lack."""
    _, size, axes = np.linalg.svd(rows / np.sqrt(len(rows)), full_matrices=False)
    components = size[:count, None] * axes[:count]
    rest = np.maximum((rows**2).mean(0) - (components**2).sum(0), 0)
    return components, rest + LEAST_NOISE * max(rest.mean(), (rows**2).mean() / 100)
