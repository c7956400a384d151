"""Cutting a person out without a neural network: a colour model around a head-and-shoulders prior, GrabCut, and a
guided filter for the edge.

Lengths called u, v are in face sizes (half of the face box's width + height) from the face's centre, right and down.
"""

from __future__ import annotations

import cv2
import numpy as np

from .crop import Box, face_size, visible_region

CONTEXT = 0.25
"""How much more than the portrait shows is looked at, in face sizes on each side."""
WORK_FACE, WORK_SIDE = 110.0, 480
"""GrabCut runs where the face has this size or the picture's longer side this length, in pixels, at most."""
EDGE_SIDE = 768
"""The edge is refined where the longer side has this length at most; the portrait cannot show more."""

ROUNDS = 8
"""Times the colour model is fitted again to what it found."""
GRABCUT_ITERATIONS = 2
BINS = 24
"""Per axis of the Lab colour histograms."""
SURE = 6.0
"""Log odds that the prior reaches at most."""


def cut_out(pixels: np.ndarray, box: Box | None, *, around_face: bool = False) -> np.ndarray:
    """The matte of the person in a photo.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        box: the face, in pixels; None if unknown: a portrait with the face in the upper middle is assumed.
        around_face: only what the portrait around `box` shows; nothing elsewhere.

    Returns:
        (H, W) uint8 alpha, 255 = person. Deterministic.
    """
    height, width = pixels.shape[:2]
    if box is None:
        half = 0.2 * min(height, width)
        box = (width / 2 - half, 0.42 * height - half, width / 2 + half, 0.42 * height + half)

    # A tight window has less in it that could be taken for the person or for the background.
    edges = visible_region(box, CONTEXT)
    (x0, x1), (y0, y1) = _clipped(edges[0::2], width), _clipped(edges[1::2], height)
    inner = _matte(pixels[y0:y1, x0:x1], (box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0))
    if around_face:
        alpha = np.zeros((height, width), np.float32)
        alpha[y0:y1, x0:x1] = inner
    elif inner.shape == (height, width):
        alpha = inner
    else:
        alpha = _matte(pixels, box)
        margin = CONTEXT * face_size(box)
        weight = _ramp(y0, y1, height, margin)[:, None] * _ramp(x0, x1, width, margin)
        alpha[y0:y1, x0:x1] += weight * (inner - alpha[y0:y1, x0:x1])
    return (alpha * 255).round().astype(np.uint8)


def _clipped(edges: tuple[float, float], length: int) -> tuple[int, int]:
    """Integer start and end inside 0…length, never empty."""
    start = min(max(int(edges[0]), 0), length - 1)
    return start, min(max(int(edges[1]), start + 1), length)


def _ramp(start: int, end: int, length: int, margin: float) -> np.ndarray:
    """(end − start,) float32 rising from 0 to 1 over `margin` pixels at both ends, save where the photo ends too."""
    position = np.arange(start, end, dtype=np.float32) + 0.5
    rise = np.ones_like(position) if start == 0 else (position - start) / margin
    fall = np.ones_like(position) if end == length else (end - position) / margin
    return np.minimum(rise, fall).clip(0, 1)


def _matte(pixels: np.ndarray, box: Box) -> np.ndarray:
    """(H, W) float32 in [0, 1] of (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    scale = min(1.0, WORK_FACE / face_size(box), WORK_SIDE / max(height, width))
    mask = _segment(_shrunk(pixels, scale), *_face_coordinates(height, width, box, scale), scale * face_size(box))
    scale = min(1.0, EDGE_SIDE / max(height, width))
    alpha = _soften(_shrunk(pixels, scale), mask, scale * face_size(box))
    return cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)


def _size(height: int, width: int, scale: float) -> tuple[int, int]:
    return max(1, round(height * scale)), max(1, round(width * scale))


def _shrunk(pixels: np.ndarray, scale: float) -> np.ndarray:
    height, width = _size(*pixels.shape[:2], scale)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else pixels


def _face_coordinates(height: int, width: int, box: Box, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """u (1, w) and v (h, 1) of the pixel centres of a photo of `height` × `width` shrunk by `scale`."""
    h, w = _size(height, width, scale)
    x = (np.arange(w, dtype=np.float32) + 0.5) * (width / w)
    y = (np.arange(h, dtype=np.float32) + 0.5) * (height / h)
    size = face_size(box)
    return (x[None] - (box[0] + box[2]) / 2) / size, (y[:, None] - (box[1] + box[3]) / 2) / size


def _segment(pixels: np.ndarray, u: np.ndarray, v: np.ndarray, size: float) -> np.ndarray:
    """(h, w) uint8, 1 = person, of a picture with a face of `size` pixels at u = v = 0."""
    prior = _prior(u, v)
    person = _posterior(pixels, prior, size)
    core = (u / 0.33) ** 2 + (v / 0.45) ** 2 < 1

    labels = np.where(person > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[(person < 0.05) & (prior < -2)] = cv2.GC_BGD
    labels[(person > 0.95) & (prior > 1) | core] = cv2.GC_FGD
    if (labels & 1).any() and not (labels & 1).all():
        cv2.setRNGSeed(0)  # the clustering in grabCut draws random numbers
        models = np.zeros((1, 65)), np.zeros((1, 65))
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])
        cv2.grabCut(pixels, labels, None, *models, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return _clean(labels & 1, core, size)


def _prior(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(h, w) log odds of the person being there, from where the face is alone: a head above shoulders."""
    head = 1 - np.sqrt((u / 0.62) ** 2 + ((v + 0.18) / 0.85) ** 2)
    half_width = np.interp(v, [0.35, 0.6, 0.8, 1.2, 3.0], [0.3, 0.4, 0.8, 1.25, 1.6])
    body = np.minimum(half_width - np.abs(u), 2 * (v - 0.35))
    return (3.5 * np.maximum(head, body)).clip(-SURE, SURE).astype(np.float32)


def _posterior(pixels: np.ndarray, prior: np.ndarray, size: float) -> np.ndarray:
    """(h, w) probability of the person by place and colour together.

    Colour histograms of person and background are fitted to the current probability, which then follows from their
    ratio and the prior, smoothed along the picture's edges; and again.
    """
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.int32) * BINS // 256
    colour = (lab[..., 0] * BINS + lab[..., 1]) * BINS + lab[..., 2]
    smooth = GuidedFilter(pixels, radius=round(0.12 * size), epsilon=1e-3)
    person = _sigmoid(prior)
    for _ in range(ROUNDS):
        ratio = np.log(_histogram(colour, person) / _histogram(colour, 1 - person)).clip(-6, 6)
        person = _sigmoid(smooth(ratio[colour].astype(np.float32) + prior))
    return person


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.clip(-20, 20)))


def _histogram(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(BINS³,) smoothed frequency of every `colour` index, positive."""
    counts = np.bincount(colour.ravel(), weight.ravel(), BINS**3).reshape(BINS, BINS, BINS)
    for axis in range(3):
        padded = np.pad(counts, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        before, middle, after = (padded.take(range(i, i + BINS), axis) for i in range(3))
        counts = 0.25 * before + 0.5 * middle + 0.25 * after
    return counts.ravel() / max(counts.sum(), 1e-6) + 0.02 / colour.size


def _clean(mask: np.ndarray, core: np.ndarray, size: float) -> np.ndarray:
    """Keep what hangs together with the face `core`; fill small holes; drop specks."""
    radius = max(1, round(0.015 * size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    # Bridges thinner than the disc do not count as hanging together, but hair that thin is kept.
    solid = cv2.erode(mask, disc) | core.astype(np.uint8)
    _, parts = cv2.connectedComponents(solid)
    kept = np.isin(parts, np.unique(parts[core])) & (solid > 0)
    reach = cv2.dilate(kept.astype(np.uint8), disc, iterations=4) & mask

    _, labels, stats, _ = cv2.connectedComponentsWithStats(1 - reach, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < 0.02 * size**2
    small[0] = False  # label 0 is the person
    return reach | small[labels].astype(np.uint8)


def _soften(pixels: np.ndarray, mask: np.ndarray, size: float) -> np.ndarray:
    """(H, W) float32 in [0, 1]: `mask` (any size) brought to `pixels` (H, W, 3), its edge following theirs.

    Args:
        size: of the face in `pixels`.
    """
    height, width = pixels.shape[:2]
    alpha = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    hard = (alpha > 0.5).astype(np.uint8)
    band = max(2, round(0.05 * size))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * band + 1, 2 * band + 1))
    inside, outside = cv2.erode(hard, disc, borderValue=1), cv2.dilate(hard, disc) == 0
    alpha = GuidedFilter(pixels, radius=max(2, round(0.04 * size)), epsilon=1e-4)(alpha)
    alpha = ((alpha - 0.15) / 0.7).clip(0, 1)
    alpha[inside > 0] = 1
    alpha[outside] = 0
    return alpha


class GuidedFilter:
    """Edge-preserving smoothing: locally, the result is an affine function of the guide's colour (He et al. 2010).

    Args:
        guide: (H, W, 3) uint8.
        radius: of the box window, pixels.
        epsilon: variance of the guide (0…1 per channel) below which it counts as flat.
    """

    def __init__(self, guide: np.ndarray, radius: int, epsilon: float) -> None:
        self.guide = guide.astype(np.float32) / 255
        self.window = (2 * max(1, radius) + 1,) * 2
        self.mean = self._box(self.guide)
        r, g, b = cv2.split(self.guide)
        products = self._box(cv2.merge([r * r, g * g, b * b])), self._box(cv2.merge([g * b, r * b, r * g]))
        mr, mg, mb = cv2.split(self.mean)
        rr, gg, bb = cv2.split(products[0] - self.mean**2 + epsilon)
        gb, rb, rg = cv2.split(products[1] - cv2.merge([mg * mb, mr * mb, mr * mg]))
        # Inverse of the symmetric 3 × 3 covariance by cofactors.
        irr, igg, ibb = gg * bb - gb**2, rr * bb - rb**2, rr * gg - rg**2
        igb, irb, irg = rb * rg - rr * gb, rg * gb - gg * rb, gb * rb - bb * rg
        determinant = rr * irr + rg * irg + rb * irb
        irr, igg, ibb, igb, irb, irg = (cofactor / determinant for cofactor in (irr, igg, ibb, igb, irb, irg))
        self.inverse = (irr, irg, irb), (irg, igg, igb), (irb, igb, ibb)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(H, W) float32 → the same, smoothed."""
        mean = self._box(values)
        covariance = cv2.split(self._box(self.guide * values[..., None]) - self.mean * mean[..., None])
        slope = cv2.merge([sum(i * c for i, c in zip(row, covariance, strict=True)) for row in self.inverse])
        offset = mean - (slope * self.mean).sum(-1)
        return (self._box(slope) * self.guide).sum(-1) + self._box(offset)

    def _box(self, values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(values, -1, self.window, borderType=cv2.BORDER_REFLECT)
