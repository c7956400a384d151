"""Arithmetic that compressed formats share: opacities, quaternions by their three smallest components, Morton order."""

from __future__ import annotations

import numpy as np

MAX_LOGIT = 20.0
"""Stands for the infinite logits of opacities 0 and 1. The sigmoid is the same in float32."""


def opacities(logits: np.ndarray) -> np.ndarray:
    """(N,) float64 opacities of (N,) logits."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


def logits(values: np.ndarray) -> np.ndarray:
    """(N,) float32 logits of (N,) opacities from 0 to 1, within ± :data:`MAX_LOGIT`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        p = values.astype(np.float64)
        return np.clip(np.log(p) - np.log1p(-p), -MAX_LOGIT, MAX_LOGIT).astype(np.float32)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Round to uint8, limited to 0 to 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def normalized(quaternions: np.ndarray) -> np.ndarray:
    """(N, 4) float64 quaternions of length 1; those without a direction become the identity."""
    q = quaternions.astype(np.float64)
    length = np.linalg.norm(q, axis=1, keepdims=True)
    return np.where(length > 0, q / np.where(length > 0, length, 1.0), [1.0, 0.0, 0.0, 0.0])


def smallest_three(quaternions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the largest component of each quaternion, made positive, because the length is 1.

    Returns:
        (N,) index of the dropped component, and (N, 3) the others in order, within ± √½.
    """
    q = normalized(quaternions)
    rows = np.arange(len(q))
    largest = np.abs(q).argmax(axis=1)
    q *= np.where(q[rows, largest] < 0, -1.0, 1.0)[:, None]
    return largest, q[rows[:, None], _OTHERS[largest]]


def from_smallest_three(largest: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, 4) float32 quaternions from what :func:`smallest_three` returns."""
    q = np.empty((len(others), 4))
    rows = np.arange(len(others))
    q[rows[:, None], _OTHERS[largest]] = others
    q[rows, largest] = np.sqrt(np.maximum(0.0, 1.0 - (others.astype(np.float64) ** 2).sum(axis=1)))
    return q.astype(np.float32)


_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])


def morton_order(positions: np.ndarray) -> np.ndarray:
    """(N,) indices that sort (N, 3) positions along a Z-order curve: neighbors in space are neighbors in the file."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    cells = ((positions - low) / np.maximum(high - low, 1e-30) * ((1 << 21) - 1)).astype(np.uint64)
    code = np.zeros(len(positions), np.uint64)
    for axis in range(3):
        code |= _spread(cells[:, axis]) << np.uint64(axis)
    return np.argsort(code, kind="stable")


def _spread(values: np.ndarray) -> np.ndarray:
    """Insert two zero bits after each of the 21 low bits."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        values = (values | (values << np.uint64(shift))) & np.uint64(mask)
    return values
