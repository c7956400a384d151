"""Predict the depth of a portrait with a small network, trained on synthetic heads; see ``weights/README.md``."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..align.crop import SIZE
from ..weights.state_dict import load_into, load_state_dict

DEPTH_FILE = "depth.safetensors"
WEIGHTS = Path(__file__).parent / "weights" / DEPTH_FILE
SIDE = 128
"""Side in pixels of the network's square input."""
WIDTHS = (32, 64, 128, 160)
"""Channels at 1/2, 1/4, … of the input's side."""
GROUPS = 8
SEEN = 0.5
"""Alpha above which a pixel belongs to the person."""
MIDDLE, SCALE = 2.4, 0.4
"""The network predicts (depth − MIDDLE) / SCALE, with depths along the optical axis in world units."""


class DepthNetwork(nn.Module):
    """A U-Net that predicts depth from a cut-out portrait.

    Pixel coordinates are part of its input, because the face is always at the same place in an aligned portrait.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.stem = nn.Conv2d(4 * 6, widths[0], 3, padding=1)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList([_Block(width, width) for width in widths[:-1]])
        self.reduce = nn.ModuleList([nn.Conv2d(fine, coarse, 3, stride=2, padding=1) for fine, coarse in pairs])
        self.middle = nn.Sequential(_Block(widths[-1], widths[-1]), _Block(widths[-1], widths[-1]))
        self.enlarge = nn.ModuleList([nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs])
        self.up = nn.ModuleList([_Block(2 * width, width) for width in widths[:-1]])
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.head = nn.Conv2d(widths[0], 4, 3, padding=1)
        nn.init.zeros_(self.head.weight), nn.init.zeros_(self.head.bias)

    def forward(self, cutout: Tensor) -> Tensor:
        """Predict depth.

        Args:
            cutout: (B, 4, H, W) RGBA in [0, 1], straight alpha; H and W are multiples of 16.

        Returns:
            (B, H, W) depth along the optical axis, in world units; meaningless on the background.
        """
        color, alpha = cutout[:, :3], cutout[:, 3:]
        place = _place(*cutout.shape[-2:]).to(cutout).expand(len(cutout), -1, -1, -1)
        seen = torch.cat([2 * (color * alpha + 1 - alpha) - 1, 2 * alpha - 1, place], dim=1)
        x = self.stem(F.pixel_unshuffle(seen, 2))
        skipped = []
        for block, reduce in zip(self.down, self.reduce, strict=True):
            x = block(x)
            skipped.append(x)
            x = reduce(x)
        x = self.middle(x)
        for block, enlarge in zip(reversed(self.up), reversed(self.enlarge), strict=True):
            x = F.interpolate(enlarge(x), scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skipped.pop()], dim=1))
        with torch.autocast(x.device.type, enabled=False):  # in bfloat16, depth would have steps of millimeters
            x = self.head(F.silu(self.norm(x.float())))
        return MIDDLE + SCALE * F.pixel_shuffle(x, 2)[:, 0]


def portrait_depth(cutout: np.ndarray) -> np.ndarray | None:
    """Predict the depth of each pixel of a portrait. Return None if the weights are not installed.

    Args:
        cutout: (512, 512, 4) float32 RGBA in [0, 1], straight alpha, aligned (docs/model.md, 2).

    Returns:
        (512, 512) float32 depth along the optical axis, in world units; NaN on the background.
    """
    if not WEIGHTS.is_file():
        return None
    alpha = cutout[..., 3:]
    small = cv2.resize(
        np.concatenate([cutout[..., :3] * alpha, alpha], axis=-1), (SIDE, SIDE), interpolation=cv2.INTER_AREA
    )
    small[..., :3] /= small[..., 3:].clip(1e-4)
    with torch.no_grad():
        depth = predicted_depth(_network(WEIGHTS), torch.from_numpy(small.clip(0, 1)).permute(2, 0, 1)[None])[0]
    large = cv2.resize(depth.numpy(), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.where(alpha[..., 0] > SEEN, large, np.nan).astype(np.float32)


def predicted_depth(network: nn.Module, cutouts: Tensor) -> Tensor:
    """Return the mean prediction (B, H, W) for cut-outs (B, 4, H, W) and their mirror images."""
    return (network(cutouts) + network(cutouts.flip(-1)).flip(-1)) / 2


def load_depth_network(path: Path) -> DepthNetwork:
    """Load the network in float32, ready for training.

    Raises:
        FaceLiftError: the file is missing, damaged or of another network.
    """
    network = DepthNetwork()
    load_into(network, {name: tensor.float() for name, tensor in load_state_dict(path).items()}, path)
    return network


@functools.lru_cache(maxsize=1)
def _network(path: Path) -> DepthNetwork:
    return load_depth_network(path).eval().requires_grad_(False)


class _Block(nn.Module):
    """Residual block with two convolutions."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, after), nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


def _place(height: int, width: int) -> Tensor:
    """Return the x and y coordinate of each pixel, (2, H, W) in [-1, 1]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return torch.stack([x, y])
