"""Few values that stand for many: codebooks of numbers, and palettes of vectors, by k-means."""

from __future__ import annotations

import numpy as np

_ROUNDS = 12


def codebook(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose 256 numbers that fit `values` best.

    Returns:
        (256,) float32 ascending, and the index of the nearest for each value, uint8, in the shape of `values`.
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    # Start with cells as they are best for many values: their density is the cube root of that of the values.
    density, edges = np.histogram(ordered, 1024)
    smooth = np.convolve(density, np.ones(33), "same")
    spread = np.concatenate([[0.0], np.cumsum(np.cbrt(smooth))])
    codes = np.interp((np.arange(256) + 0.5) / 256 * spread[-1], spread, edges)
    for _ in range(_ROUNDS):
        cuts = np.searchsorted(ordered, (codes[1:] + codes[:-1]) / 2)
        cuts = np.concatenate([[0], cuts, [len(ordered)]])
        counts = np.diff(cuts)
        means = np.diff(sums[cuts]) / np.maximum(counts, 1)
        codes = np.sort(np.where(counts > 0, means, codes))
    codes = codes.astype(np.float32)
    return codes, np.searchsorted((codes[1:] + codes[:-1]) / 2, values).astype(np.uint8)


def palette(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose vectors that fit (N, D) `vectors`: all that differ, if there are few; else 1024 to 65,536, by N.

    Clusters are found in two steps, coarse and within each coarse one, so that the time grows with N only.

    Returns:
        (P, D) float32 entries, and the (N,) index of an entry for each vector.
    """
    count = len(vectors)
    size = 1024 * min(64, 1 << max(0, int(np.log2(max(count / 1024, 1)))))
    distinct, index = np.unique(vectors, axis=0, return_inverse=True)
    if len(distinct) <= size:
        return distinct, index.reshape(-1)
    _, coarse = _cluster(vectors, 64)
    entries, labels, used = [], np.empty(count, np.intp), 0
    for group in range(coarse.max() + 1):
        members = np.flatnonzero(coarse == group)
        if len(members):
            share = max(1, size * len(members) // count)
            fine, within = _cluster(vectors[members], share)
            entries.append(fine)
            labels[members] = used + within
            used += len(fine)
    return np.concatenate(entries), labels


def _cluster(vectors: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Plain k-means from evenly drawn vectors: (P ≤ `size`, D) centers and (N,) labels."""
    draw = np.random.default_rng(0)
    centers = vectors[draw.choice(len(vectors), min(size, len(vectors)), replace=False)].astype(np.float32)
    labels = np.zeros(len(vectors), np.intp)
    for last in range(_ROUNDS - 1, -1, -1):
        labels = _nearest(vectors, centers)
        if last:
            counts = np.bincount(labels, minlength=len(centers))
            sums = np.stack([np.bincount(labels, column, len(centers)) for column in vectors.T], axis=1)
            centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers).astype(np.float32)
    return centers, labels


def _nearest(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    half = (centers**2).sum(axis=1) / 2
    rows = max(1, (1 << 24) // len(centers))
    blocks = (vectors[start : start + rows] @ centers.T - half for start in range(0, len(vectors), rows))
    return np.concatenate([block.argmax(axis=1) for block in blocks])
