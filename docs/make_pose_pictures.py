"""Draw the pictures of the ready-made expressions: python docs/make_pose_pictures.py

Each one shows a synthetic person with the shapes of a pose of ``facelift_blender/animation/poses.py``, in
``facelift_blender/animation/pictures``. The person is made of CC0 data alone.
"""

from __future__ import annotations

import torch
from PIL import Image

from facelift_blender.animation.poses import POSES, picture_of
from facelift_core.animation.rig import SHAPES
from facelift_core.files import replacing
from facelift_core.rendering.cameras import orbit
from facelift_core.training.heads.render import render
from facelift_core.training.heads.scene import make_head

PERSON = 1_000_003
"""Seed."""
FRAME = (152, 186, 358, 392)
"""Of the face in a view of 512 pixels: left, top, right and bottom."""
SCALE = 3
"""Size of the view that is cut and reduced, in 512 pixels."""
SIDE, COLORS = 128, 256


def main() -> None:
    camera = orbit(torch.tensor([270.0])).numpy()
    for name, pose in POSES.items():
        actions = {shape: pose.strength(shape) for shape in SHAPES if pose.strength(shape)}
        view = Image.fromarray(render(make_head(PERSON, actions), camera, 512 * SCALE).rgba[0], "RGBA")
        picture = view.crop([SCALE * edge for edge in FRAME]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        path = picture_of(name)
        with replacing(path) as temporary:
            picture.convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE).save(temporary, "PNG", optimize=True)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
