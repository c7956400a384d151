"""Views of a head: color with straight alpha, and depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ...compute.native import load, pointer
from ...rendering import cameras
from .scene import Head


@dataclass(frozen=True)
class Views:
    """Views of one head.

    Attributes:
        rgba: (V, S, S, 4) uint8 sRGB, straight alpha.
        depth: (V, S, S) float16 world units along each camera's axis, 0 where empty; None if unknown.
        c2w: (V, 4, 4) float32, OpenCV convention.
        sampled: (6, S, S, 3) uint8, input views sampled by the diffusion, or None.
    """

    rgba: np.ndarray
    depth: np.ndarray | None
    c2w: np.ndarray
    sampled: np.ndarray | None = None


def render(head: Head, c2w: np.ndarray, size: int, supersampling: int | None = None) -> Views:
    """Render the head from (V, 4, 4) cameras at `size` × `size` pixels, with the field of view of docs/model.md, 5."""
    supersampling = supersampling or (3 if size <= 128 else 2)
    c2w = np.ascontiguousarray(c2w, np.float32)
    rgba = np.empty((len(c2w), size, size, 4), np.uint8)
    depth = np.empty((len(c2w), size, size), np.float32)
    fxfycxcy = cameras.intrinsics(size).numpy().astype(np.float32)
    lamps = head.lighting.lamps
    lights = np.ascontiguousarray(
        np.concatenate([head.lighting.directions[:lamps], head.lighting.radiance[:lamps]], 1), np.float32
    )
    load("zbuffer").render_views(
        pointer(head.vertices, np.float32), pointer(head.normals, np.float32), pointer(head.colors, np.float32),
        pointer(head.gloss, np.float32), len(head.vertices), pointer(head.triangles, np.int32), len(head.triangles),
        pointer(c2w, np.float32), len(c2w), pointer(fxfycxcy, np.float32), size, supersampling,
        pointer(lights, np.float32), pointer(head.visibility, np.float32), lamps,
        pointer(rgba, np.uint8), pointer(depth, np.float32),
    )  # fmt: skip
    return Views(rgba, depth.astype(np.float16), c2w)


def on_white(rgba: np.ndarray) -> Image.Image:
    """Composite one (S, S, 4) uint8 image over white."""
    picture = Image.fromarray(rgba, "RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def sample_cameras(rng: np.random.Generator, random_views: int) -> np.ndarray:
    """(6 + n, 4, 4) float32: the six canonical views, then random ones with any azimuth and elevation −20° to 30°."""
    azimuths = torch.from_numpy(rng.uniform(0, 360, random_views))
    elevations = torch.from_numpy(rng.uniform(-20, 30, random_views))
    return torch.cat([cameras.six_views(), cameras.orbit(azimuths, elevations)]).numpy().astype(np.float32)
