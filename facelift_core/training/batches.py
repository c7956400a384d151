"""Training batches from rendered heads: compositing, and augmentations that imitate photos."""

from __future__ import annotations

import io
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..images import contact_sheet, to_pictures
from .heads.dataset import HeadDataset
from .heads.render import Views

WHITE = torch.ones(3)


@dataclass(frozen=True)
class HeadTensors:
    """One head as float tensors.

    Attributes:
        rgba: (V, 4, H, W) in [0, 1], straight alpha.
        depth: (V, H, W), or None if unknown.
        c2w: (V, 4, 4).
        sampled: (6, 3, H, W) in [0, 1], input views sampled by the diffusion, or None.
    """

    rgba: Tensor
    depth: Tensor | None
    c2w: Tensor
    sampled: Tensor | None = None

    @classmethod
    def of(cls, head: Views) -> HeadTensors:
        return cls(
            torch.from_numpy(head.rgba.astype(np.float32)).movedim(-1, 1) / 255,
            None if head.depth is None else torch.from_numpy(head.depth.astype(np.float32)),
            torch.from_numpy(np.array(head.c2w)),
            None if head.sampled is None else torch.from_numpy(np.array(head.sampled)).movedim(-1, 1).float() / 255,
        )

    @classmethod
    def draw(cls, heads: HeadDataset, random: np.random.Generator) -> HeadTensors:
        return cls.of(heads[int(random.integers(len(heads)))])


def composite(rgba: Tensor, background: Tensor) -> Tensor:
    """(…, 4, H, W) straight-alpha RGBA in [0, 1] over (…, 3) background → (…, 3, H, W)."""
    color, alpha = rgba.split([3, 1], dim=-3)
    return color * alpha + background[..., None, None] * (1 - alpha)


def plain_background(random: np.random.Generator) -> Tensor:
    """Random (3,) background: white, black or gray."""
    return torch.full((3,), float(random.choice([1.0, 0.0, 0.5])))


def random_backgrounds(random: np.random.Generator, count: int) -> Tensor:
    """(count, 3): white, black or gray each a quarter of the time, else any color."""

    def one() -> Tensor:
        return plain_background(random) if random.random() < 0.75 else torch.from_numpy(random.random(3)).float()

    return torch.stack([one() for _ in range(count)])


@dataclass(frozen=True)
class ColorShift:
    """Random color adjustment, the same in every view of a head; or adjustments of B heads.

    `gain` (3,) per channel, `gamma` and `saturation` (); or (B, 1, 3), (B, 1) and (B, 1).
    """

    gain: Tensor
    gamma: Tensor
    saturation: Tensor

    @classmethod
    def draw(cls, random: np.random.Generator) -> ColorShift:
        tint = np.exp(random.normal(0, 0.03, 3)) * np.exp(random.normal(0, 0.08))
        return cls(
            gain=torch.from_numpy(tint).float(),
            gamma=torch.tensor(float(np.exp(random.normal(0, 0.12)))),
            saturation=torch.tensor(float(np.exp(random.normal(0, 0.15)))),
        )

    @classmethod
    def stack(cls, shifts: list[ColorShift]) -> ColorShift:
        return cls(*(torch.stack([getattr(x, f.name) for x in shifts])[:, None] for f in fields(cls)))

    def to(self, device: torch.device) -> ColorShift:
        return ColorShift(self.gain.to(device), self.gamma.to(device), self.saturation.to(device))

    def __call__(self, rgba: Tensor) -> Tensor:
        """Adjust the colors of (…, 4, H, W), or (B, V, 4, H, W) of B heads; alpha is unchanged."""
        color, alpha = rgba.split([3, 1], dim=-3)
        gamma, saturation = (x[..., None, None, None] for x in (self.gamma, self.saturation))
        color = color.clamp(1e-4, 1) ** gamma * self.gain[..., None, None]
        gray = color.mean(-3, keepdim=True)
        return torch.cat([(gray + saturation * (color - gray)).clamp(0, 1), alpha], dim=-3)


def as_photographed(rgba: Tensor, random: np.random.Generator, background: Tensor = WHITE) -> Tensor:
    """Augment an aligned portrait to look like a photo that was matted and aligned, over a (3,) background.

    Changes the matte (threshold, soft edge), cuts off parts outside the photo, blurs, adds noise, compresses, and
    shifts the picture by about a pixel. Larger variations in position and size, as face detectors cause them, are part
    of the generated heads, where all six views change together; moving the portrait alone would teach the model to draw
    a front view that differs from the portrait.

    Args:
        rgba: (4, H, W) in [0, 1].

    Returns:
        (3, H, W) in [0, 1].
    """
    size = rgba.shape[-1]
    scale = float(np.exp(random.normal(0, 0.008)))
    shift = random.normal(0, 0.004, 2)
    angle = random.normal(0, 0.008)
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    theta = torch.tensor([[[c, -s, shift[0] * 2], [s, c, shift[1] * 2]]], dtype=torch.float32)
    premultiplied = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])[None]
    grid = F.affine_grid(theta, list(premultiplied.shape), align_corners=False)
    # Shoulders continue beyond the lower border, so repeat it instead of adding background.
    warped = F.grid_sample(premultiplied, grid, padding_mode="border", align_corners=False)[0]
    color, alpha = warped[:3], warped[3:]
    if random.random() < 0.3:
        edge = alpha * random.uniform(1.0, 1.6) - random.uniform(0, 0.3)
        trimmed = edge.clamp(0, 1)
        color, alpha = color * (trimmed / alpha.clamp(min=1e-3)).clamp(max=1), trimmed
    if random.random() < 0.08:
        inside = _within_photo(size, random)
        color, alpha = color * inside, alpha * inside
    image = (color + background[:, None, None] * (1 - alpha)).clamp(0, 1)
    if random.random() < 0.4:
        small = int(size * random.uniform(0.65, 1))
        image = F.interpolate(image[None], size=(small, small), mode="bilinear", antialias=True)
        image = F.interpolate(image, size=(size, size), mode="bilinear")[0]
    if random.random() < 0.4:
        noise = torch.from_numpy(random.normal(0, random.uniform(0, 0.02), (1, size, size))).float()
        image = (image + noise * alpha).clamp(0, 1)
    if random.random() < 0.4:
        image = _jpeg(image, int(random.integers(50, 95)))
    return image.clamp(0, 1)


def _within_photo(size: int, random: np.random.Generator) -> Tensor:
    """(size, size) mask: 1 inside the photo, 0 beyond its lower, left or right border."""
    inside, border = torch.ones(size, size), int(size * random.uniform(0.03, 0.2))
    side = random.integers(3)
    if side == 0:
        inside[size - border :] = 0
    elif side == 1:
        inside[:, :border] = 0
    else:
        inside[:, size - border :] = 0
    return inside


def _jpeg(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    to_pictures(image[None])[0].save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1).float() / 255


def picture_grid(rows: list[Tensor], scale: int = 2) -> Image.Image:
    """Arrange rows of (V, 3, H, W) pictures in [0, 1] in a grid, enlarged by `scale`."""
    sheet = contact_sheet(torch.cat([row.cpu() for row in rows]), columns=len(rows[0]))
    return sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)
