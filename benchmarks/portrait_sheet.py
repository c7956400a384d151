"""Show a portrait, its six generated views, and the head from eight sides in one image.

python benchmarks/portrait_sheet.py tests/data/portrait.jpg -o sheet.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image

from facelift_core import FaceLift, FaceLiftError
from facelift_core.images import contact_sheet, to_pictures, write_picture
from facelift_core.rendering import render
from facelift_core.rendering.cameras import intrinsics, turntable

SIDES = 8
RENDER_SIZE = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--weights", default="mini", help="mini, released, or a folder (default %(default)s)")
    parser.add_argument("--size", type=int, default=150, help="size of each image in pixels (default %(default)s)")
    options = parser.parse_args()
    try:
        write_picture(sheet(options.photo, options.weights, options.size), options.output)
    except FaceLiftError as error:
        print(f"portrait_sheet: {error}", file=sys.stderr)
        return 1
    return 0


def sheet(photo: Path, weights: str, size: int) -> Image.Image:
    """Return an image with eight columns: portrait and views above, the head below."""
    result = FaceLift.from_pretrained(weights).reconstruct(photo)
    cameras = intrinsics(RENDER_SIZE).float().expand(SIDES, 4)
    renders = render(result.gaussians, turntable(SIDES).float(), cameras, RENDER_SIZE, RENDER_SIZE)
    above = [result.portrait, *to_pictures(result.views)]
    empty = Image.new("RGB", (size, size), "white")
    pictures = [*above, *[empty] * (SIDES - len(above)), *to_pictures(renders)]
    return contact_sheet([picture.resize((size, size), Image.Resampling.LANCZOS) for picture in pictures], SIDES)


if __name__ == "__main__":
    sys.exit(main())
