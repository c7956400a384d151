"""Closed-form matting, and estimation of foreground colors.

A. Levin, D. Lischinski, Y. Weiss: A Closed-Form Solution to Natural Image Matting, 2008. In every 3 × 3 window, alpha
is modeled as an affine function of the color. The sum of the squared residuals is a quadratic form in alpha; minimizing
it with the known pixels fixed is a sparse linear system.
"""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg, splu

FLAT = 1e-6
"""Color variance (0…1 per channel) below which a window counts as flat, so that noise does not influence alpha."""
DIRECT = 40_000
"""Maximum number of unknown pixels for a direct solve. Larger systems start from a solution at half the size …"""
ITERATIONS = 60
"""… and are refined by this many conjugate gradient iterations."""

_WINDOW = tuple(product((-1, 0, 1), repeat=2))
_REACH = tuple(product(range(-2, 3), repeat=2))
"""Offsets (y, x) at which two pixels can share a window."""


def solve_alpha(
    pixels: np.ndarray, alpha: np.ndarray, unknown: np.ndarray, pull: np.ndarray | None = None
) -> np.ndarray:
    """Solve for alpha at unknown pixels, from the colors and the known alpha.

    Args:
        pixels: (H, W, 3) uint8 RGB, at least 3 × 3.
        alpha: (H, W) float32 in [0, 1]; fixed where known, an initial guess elsewhere.
        unknown: (H, W) bool, the pixels to solve for.
        pull: (H, W) float32, weight of the initial guess; None uses only the colors.

    Returns:
        (H, W) float32 in [0, 1]. Deterministic.
    """
    count = np.count_nonzero(unknown)
    if not count:
        return alpha
    matrix, right = _system(pixels, alpha, unknown, pull)
    if count <= DIRECT:
        # An ordering for symmetric matrices; with the default one, the factors take several times the memory.
        factors = splu(matrix.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True})
        found = factors.solve(right)
    else:
        start = _solved_at_half_the_size(pixels, alpha, unknown, pull)[unknown].astype(np.float64)
        diagonal = matrix.diagonal()
        jacobi = LinearOperator(matrix.shape, lambda x: x.ravel() / diagonal, dtype=matrix.dtype)
        found, _ = cg(matrix, right, start, rtol=0, maxiter=ITERATIONS, M=jacobi)
    result = alpha.copy()
    result[unknown] = found.clip(0, 1)
    return result


def _solved_at_half_the_size(
    pixels: np.ndarray, alpha: np.ndarray, unknown: np.ndarray, pull: np.ndarray | None
) -> np.ndarray:
    """Solve at half the size; arguments and result as in :func:`solve_alpha`, (H, W) float32."""
    height, width = unknown.shape
    half = width // 2, height // 2
    pixels, alpha, pull = (
        None if part is None else cv2.resize(part, half, interpolation=cv2.INTER_AREA) for part in (pixels, alpha, pull)
    )
    # A reduced pixel that is only partly known counts as unknown.
    unknown = cv2.resize(unknown.astype(np.float32), half, interpolation=cv2.INTER_AREA) > 0
    return cv2.resize(solve_alpha(pixels, alpha, unknown, pull), (width, height), interpolation=cv2.INTER_LINEAR)


def _system(
    pixels: np.ndarray, alpha: np.ndarray, unknown: np.ndarray, pull: np.ndarray | None
) -> tuple[csr_array, np.ndarray]:
    """Build the matting Laplacian of the N unknown pixels, (N, N), and the right-hand side (N,) from the known ones."""
    width = unknown.shape[1]
    rows = np.full(unknown.size, -1, np.int32)
    here = np.flatnonzero(unknown)
    rows[here] = np.arange(len(here), dtype=np.int32)

    touched = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8))
    touched[[0, -1]] = touched[:, [0, -1]] = 0
    centres = np.flatnonzero(touched)
    members = [centres + dy * width + dx for dy, dx in _WINDOW]
    colors = pixels.reshape(-1, 3).astype(np.float32) / 255
    spread, weighted = _windows(colors, members)

    stencil = np.zeros(len(here) * len(_REACH), np.float32)
    for i, (yi, xi) in enumerate(_WINDOW):
        row = rows[members[i]]
        mine = np.flatnonzero(row >= 0)
        slots = row[mine].astype(np.int64) * len(_REACH)
        left = weighted[i][:, mine]
        for j, (yj, xj) in enumerate(_WINDOW):
            value = (left * spread[j][:, mine]).sum(0)
            value = (i == j) - (1 + value) / 9
            stencil[slots + _REACH.index((yj - yi, xj - xi))] += value
    stencil = stencil.reshape(len(here), len(_REACH))
    offsets = np.array([dy * width + dx for dy, dx in _REACH])
    # Pixels outside the image share no window, so these entries are 0 and any index is valid.
    there = (here[:, None] + offsets).clip(0, unknown.size - 1)
    columns = rows[there]
    known = columns < 0
    right = -(stencil * np.where(known, alpha.ravel()[there], 0)).sum(1)
    if pull is not None:
        weight = pull.ravel()[here]
        stencil[:, _REACH.index((0, 0))] += weight
        right += weight * alpha.ravel()[here]
    ends = np.concatenate([[0], np.cumsum((~known).sum(1))])
    matrix = csr_array((stencil[~known], columns[~known], ends.astype(np.int32)), shape=(len(here),) * 2)
    return matrix, right.astype(np.float32)


def _windows(colors: np.ndarray, members: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each 3 × 3 window, its colors minus their mean, and the same times their inverse covariance.

    Args:
        colors: (N, 3) float32.
        members: 9 arrays (M,) of indices into `colors`, one for each position in the M windows.

    Returns:
        Two float32 arrays (9, 3, M).
    """
    spread = np.stack([colors[index].T for index in members])
    spread -= spread.mean(0)
    # float64, because nearly flat windows have nearly singular covariances.
    r, g, b = spread.transpose(1, 0, 2).astype(np.float64)
    flat = FLAT / 9
    rr, gg, bb = (r * r).mean(0) + flat, (g * g).mean(0) + flat, (b * b).mean(0) + flat
    rg, rb, gb = (r * g).mean(0), (r * b).mean(0), (g * b).mean(0)
    irr, igg, ibb = gg * bb - gb**2, rr * bb - rb**2, rr * gg - rg**2
    igb, irb, irg = rb * rg - rr * gb, rg * gb - gg * rb, gb * rb - bb * rg
    determinant = rr * irr + rg * irg + rb * irb
    inverse = np.stack([irr, irg, irb, irg, igg, igb, irb, igb, ibb]) / determinant
    inverse = inverse.astype(np.float32).reshape(3, 3, -1)
    return spread, np.einsum("abm,kbm->kam", inverse, spread)


def unmix(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Estimate the foreground colors of an image composited with `alpha` over an unknown background.

    Local averages of foreground and background, corrected by their residual (M. Forte: Approximate Fast Foreground
    Colour Estimation, 2021), with a large radius first and then a small one.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        alpha: (H, W) float32 in [0, 1].

    Returns:
        (H, W, 3) uint8. Equals `pixels` where alpha is 1 or no foreground is near.
    """
    image = pixels.astype(np.float32) / 255
    alpha = alpha[..., None]
    foreground = background = image
    for radius in (max(image.shape[:2]) // 12, max(image.shape[:2]) // 100):
        front = _local_mean(foreground, alpha, radius)
        background = _local_mean(background, 1 - alpha, radius)
        foreground = front + alpha * (image - alpha * front - (1 - alpha) * background)
        foreground = foreground.clip(0, 1)
    near = cv2.blur(alpha, (2 * radius + 1,) * 2)[..., None] > 0
    result = np.where((alpha < 1) & near, foreground, image)
    return (result * 255).round().astype(np.uint8)


def _local_mean(values: np.ndarray, weight: np.ndarray, radius: int) -> np.ndarray:
    """Return the local mean (H, W, 3) of `values`, weighted by `weight` (H, W, 1), within `radius` pixels."""
    window = (2 * radius + 1,) * 2
    return cv2.blur(values * weight, window) / (cv2.blur(weight, window)[..., None] + 1e-5)
