"""Face detection with MTCNN (Zhang et al. 2016), with which the alignment constants were measured (docs/model.md, 2.2).

A cascade of three small networks: P-Net proposes 12-pixel windows on an image pyramid; R-Net and O-Net refine the
remaining candidates at 24 and 48 pixels. Boxes, probabilities and landmarks equal those of facenet-pytorch 2.5.3, whose
weights are used (see ``weights/README.md``).

Coordinates are pixels, x right, y down; boxes are (x0, y0, x1, y1). The pixel conventions of the original (some widths
are one pixel larger than x1 − x0; coordinates are truncated before cropping) are kept where they affect the result, and
are noted there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

PROPOSAL_THRESHOLD, REFINE_THRESHOLD, OUTPUT_THRESHOLD = 0.6, 0.7, 0.7
PYRAMID_FACTOR = 0.709
MIN_FACE = 20
"""Shorter side of the smallest face to detect, in pixels."""

WINDOW, STRIDE = 12, 2
"""P-Net's receptive field and stride, in pixels of a pyramid level."""
MAX_LEVEL_SIDE = 1280
"""Pyramid levels with a longer side than this are skipped, which affects only photos with more than 2133 pixels a side.
In those, faces below about 2 % of the longer side are missed; all others are still measured on the full photo."""
BATCH = 512

_WEIGHTS = Path(__file__).parent / "weights" / "mtcnn.safetensors"


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the image; may extend beyond its border.
        probability: probability of being a face, in [0, 1].
        landmarks: five points (x, y): eye, eye, nose, mouth corner, mouth corner; of each pair, the left one in the
            image comes first.
    """

    box: tuple[float, float, float, float]
    probability: float
    landmarks: tuple[tuple[float, float], ...]

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


class MaxPool(nn.Module):
    """Max pooling with stride 2 and sizes rounded up, (B, C, H, W) → (B, C, ⌈(H − kernel) / 2⌉ + 1, …).

    Rows first and then columns, as maxima of whole tensors: equal to PyTorch's kernel, which took a third of the
    detection, and three to seven times as fast on a CPU.
    """

    def __init__(self, kernel: int):
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        return self._along(self._along(x, 2), 3)

    def _along(self, x: Tensor, axis: int) -> Tensor:
        outputs = max(0, -(-(x.shape[axis] - self.kernel) // 2)) + 1
        missing = 2 * (outputs - 1) + self.kernel - x.shape[axis]
        if missing > 0:
            sides = (0, 0, 0, missing) if axis == 2 else (0, missing)
            x = functional.pad(x, sides, value=float("-inf"))
        every_second = (x.narrow(axis, start, 2 * outputs - 1) for start in range(self.kernel))
        windows = [part[:, :, ::2] if axis == 2 else part[..., ::2] for part in every_second]
        return reduce(torch.maximum, windows)


def _convolutions(*layers: tuple[int, int, int, int]) -> nn.Sequential:
    """Stack convolution, PReLU and max pooling for each (channels in, channels out, kernel, pooling kernel or 0)."""
    modules: list[nn.Module] = []
    for channels_in, channels_out, kernel, pool in layers:
        modules += [nn.Conv2d(channels_in, channels_out, kernel), nn.PReLU(channels_out)]
        if pool:
            modules.append(MaxPool(pool))
    return nn.Sequential(*modules)


class ProposalNet(nn.Module):
    """(B, 3, H, W) in [−1, 1] → face probability (B, h, w) and box offsets (B, 4, h, w) of every 12-pixel window."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = _convolutions((3, 10, 3, 2), (10, 16, 3, 0), (16, 32, 3, 0))
        self.score = nn.Conv2d(32, 2, 1)
        self.offset = nn.Conv2d(32, 4, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.trunk(images)
        return self.score(features).softmax(1)[:, 1], self.offset(features)


class WindowNet(nn.Module):
    """R-Net or O-Net: (B, 3, S, S) in [−1, 1] → probability (B,), box offsets (B, 4), landmarks (B, 10 or 0)."""

    def __init__(self, trunk: nn.Sequential, flat: int, hidden: int, landmarks: bool) -> None:
        super().__init__()
        self.trunk = trunk
        self.hidden = nn.Sequential(nn.Linear(flat, hidden), nn.PReLU(hidden))
        self.score = nn.Linear(hidden, 2)
        self.offset = nn.Linear(hidden, 4)
        self.landmarks = nn.Linear(hidden, 10 if landmarks else 0) if landmarks else None

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # The weights come from a framework that flattens in the order (width, height, channel).
        features = self.hidden(self.trunk(windows).transpose(1, 3).flatten(1))
        points = features.new_zeros(len(features), 0) if self.landmarks is None else self.landmarks(features)
        return self.score(features).softmax(1)[:, 1], self.offset(features), points


class Cascade(nn.Module):
    """All three networks. Parameter names are those of ``weights/mtcnn.safetensors``."""

    def __init__(self) -> None:
        super().__init__()
        self.pnet = ProposalNet()
        self.rnet = WindowNet(_convolutions((3, 28, 3, 3), (28, 48, 3, 3), (48, 64, 2, 0)), 576, 128, False)
        self.onet = WindowNet(
            _convolutions((3, 32, 3, 3), (32, 64, 3, 3), (64, 64, 3, 2), (64, 128, 2, 0)), 1152, 256, True
        )


@cache
def _cascade() -> Cascade:
    networks = Cascade()
    networks.load_state_dict(load_file(_WEIGHTS))
    return networks.eval().requires_grad_(False)


def detect_faces(image: Image.Image) -> list[Face]:
    """Detect all faces in an image, largest area first.

    Runs on the CPU in float32, in a fraction of a second. Deterministic.

    Args:
        image: PIL image of any mode; converted to RGB.
    """
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float().contiguous()
    networks = _cascade()
    with torch.inference_mode():
        boxes = _propose(networks.pnet, pixels)
        boxes = _refine(networks.rnet, pixels, boxes)
        return _output(networks.onet, pixels, boxes)


def _propose(pnet: ProposalNet, pixels: Tensor) -> Tensor:
    """Propose square candidate boxes (N, 4), in pixels of the image (1, 3, H, W)."""
    candidates = []
    for scale in _pyramid(*pixels.shape[2:]):
        size = [int(side * scale + 1) for side in pixels.shape[2:]]
        probability, offset = pnet(_resample(pixels, size))
        row, column = (probability[0] >= PROPOSAL_THRESHOLD).nonzero(as_tuple=True)
        # Window corners in the image. The original rounds them down and counts from one.
        corner = torch.stack([column, row], 1) * STRIDE
        window = torch.cat([((corner + 1) / scale).floor(), ((corner + WINDOW) / scale).floor()], 1)
        level = torch.cat([window, probability[0, row, column, None], offset[0, :, row, column].T], 1)
        candidates.append(level[_suppress(level[:, :4], level[:, 4], 0.5)])
    if not candidates:
        return pixels.new_zeros(0, 4)
    found = torch.cat(candidates)
    found = found[_suppress(found[:, :4], found[:, 4], 0.7)]
    return _square(_shift(found[:, :4], found[:, 5:9], extra=0))


def _refine(rnet: WindowNet, pixels: Tensor, boxes: Tensor) -> Tensor:
    """Return the boxes (M, 4), M ≤ N, that R-Net classifies as faces, corrected and made square."""
    boxes, probability, offset, _ = _classify(rnet, pixels, boxes, 24, REFINE_THRESHOLD)
    keep = _suppress(boxes, probability, 0.7)
    return _square(_shift(boxes[keep], offset[keep], extra=1))


def _output(onet: WindowNet, pixels: Tensor, boxes: Tensor) -> list[Face]:
    """Return the faces that O-Net finds among the boxes (M, 4), largest first."""
    boxes, probability, offset, points = _classify(onet, pixels, boxes, 48, OUTPUT_THRESHOLD)
    # Landmarks are relative to the uncorrected box: five x, then five y.
    size = boxes[:, 2:] - boxes[:, :2] + 1
    landmarks = points.reshape(-1, 2, 5).transpose(1, 2) * size[:, None] + boxes[:, None, :2] - 1
    boxes = _shift(boxes, offset, extra=1)
    faces = [
        Face(tuple(boxes[i].tolist()), probability[i].item(), tuple(map(tuple, landmarks[i].tolist())))
        for i in _suppress(boxes, probability, 0.7, of_smaller=True).tolist()
    ]
    return sorted(faces, key=lambda face: face.area, reverse=True)


def _pyramid(height: int, width: int) -> list[float]:
    """Return the scales of the image pyramid, finest first."""
    scale = WINDOW / MIN_FACE
    scales = []
    while min(height, width) * scale >= WINDOW:
        if max(height, width) * scale <= MAX_LEVEL_SIDE:
            scales.append(scale)
        scale *= PYRAMID_FACTOR
    return scales


def _resample(pixels: Tensor, size: list[int]) -> Tensor:
    """Resize to `size` (height, width) by area averaging, and map 0…255 to about −1…1."""
    return (functional.interpolate(pixels, size=size, mode="area") - 127.5) * 0.0078125


def _classify(
    network: WindowNet, pixels: Tensor, boxes: Tensor, side: int, threshold: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Crop `boxes` (N, 4), resize them to `side` pixels, and keep those that `network` rates above `threshold`.

    Returns:
        boxes (M, 4), probability (M,), offsets (M, 4), landmarks (M, 10 or 0).
    """
    height, width = pixels.shape[2:]
    limits = torch.tensor([width, height])
    start = boxes[:, :2].int().clamp(min=1) - 1  # boxes count pixels from one
    end = torch.minimum(boxes[:, 2:].int(), limits)
    inside = (end > start).all(1)
    boxes, start, end = boxes[inside], start[inside].tolist(), end[inside].tolist()
    windows = [
        _resample(pixels[:, :, y0:y1, x0:x1], [side, side]) for (x0, y0), (x1, y1) in zip(start, end, strict=True)
    ]
    batches = [network(torch.cat(windows[i : i + BATCH])) for i in range(0, len(windows), BATCH)]
    if not batches:
        return boxes, boxes.new_zeros(0), boxes.new_zeros(0, 4), boxes.new_zeros(0, 10)
    probability, offset, points = (torch.cat(part) for part in zip(*batches, strict=True))
    keep = probability > threshold
    return boxes[keep], probability[keep], offset[keep], points[keep]


def _shift(boxes: Tensor, offset: Tensor, extra: int) -> Tensor:
    """Move the corners of boxes (N, 4) by `offset` (N, 4), relative to box sizes enlarged by `extra` pixels."""
    size = boxes[:, 2:] - boxes[:, :2] + extra
    return boxes + offset * size.repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """Make boxes (N, 4) square by extending the shorter side about the center."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.amax(1, keepdim=True)
    start = boxes[:, :2] + size * 0.5 - side * 0.5
    return torch.cat([start, start + side], 1)


def _suppress(boxes: Tensor, scores: Tensor, threshold: float, of_smaller: bool = False) -> Tensor:
    """Greedy non-maximum suppression. Returns the indices (M,) of the remaining boxes, best score first.

    Overlap is intersection over union or, with `of_smaller`, intersection over the smaller box; in that case the
    original counts every side one pixel longer.
    """
    extra = 1 if of_smaller else 0
    corners = boxes.numpy()
    start, end = corners[:, :2], corners[:, 2:] + np.float32(extra)
    area = (end - start).prod(1)
    order = scores.sort(descending=True, stable=True).indices.numpy()
    keep = []
    while len(order):
        best, rest = order[0], order[1:]
        keep.append(int(best))
        side = (np.minimum(end[best], end[rest]) - np.maximum(start[best], start[rest])).clip(min=0)
        intersection = side.prod(1)
        whole = np.minimum(area[best], area[rest]) if of_smaller else area[best] + area[rest] - intersection
        order = rest[intersection <= threshold * whole]
    return torch.tensor(keep, dtype=torch.long)
