"""Measure background removal: overlap with manually corrected outlines, and time.

python benchmarks/portraits.py FOLDER
python benchmarks/matting.py FOLDER -o sheet.png

Outlines are 512², in the framing of the portrait around the face that is detected in the photo.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from portraits import HERE, Portrait, listing

from facelift_core import FaceLiftError
from facelift_core.align import METHODS, SIZE, align_portrait, find_faces, remove_background
from facelift_core.align.crop import resample, shown_region
from facelift_core.images import contact_sheet, write_picture

BACKGROUNDS = ("white", "magenta")
"""Backgrounds of the cut-outs in the sheet."""


@dataclass(frozen=True)
class Row:
    """Result for one portrait: intersection over union with its outline, processor seconds of the matte."""

    name: str
    group: str
    overlap: float
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder filled by benchmarks/portraits.py")
    parser.add_argument("--matting", choices=METHODS, default="segmentation")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.png", help="also write photo, alpha and cut-outs of each portrait"
    )
    parser.add_argument("--size", type=int, default=256, help="size of each image in the sheet (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    try:
        outlined = [portrait for portrait in listing() if outline_file(portrait).is_file()]
        rows = [measure(portrait, options.folder, options.matting) for portrait in outlined]
        report(rows)
        if options.json:
            options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
        if options.output:
            pictures = [p for portrait in outlined for p in looks(portrait, options.folder, options.matting)]
            pictures = [p.resize((options.size, options.size), Image.Resampling.LANCZOS) for p in pictures]
            write_picture(contact_sheet(pictures, 2 + len(BACKGROUNDS)), options.output)
    except FaceLiftError as error:
        print(f"matting: {error}", file=sys.stderr)
        return 1
    return 0


def outline_file(portrait: Portrait) -> Path:
    return HERE / "outlines" / f"{portrait.name}.png"


def measure(portrait: Portrait, folder: Path, method: str) -> Row:
    photo = portrait.open(folder)
    box, *others = (face.box for face in find_faces(photo.image))
    start = time.process_time()
    matte = remove_background(photo, box, method, others=others, around_face=True)
    seconds = time.process_time() - start
    alpha, inside = resample(matte.alpha, shown_region(photo.image.size, box), SIZE)
    found = (np.asarray(alpha) > 127) & (np.asarray(inside) > 0)
    truth = np.asarray(Image.open(outline_file(portrait)).convert("L")) > 0
    return Row(portrait.name, portrait.group, float((found & truth).sum() / (found | truth).sum()), seconds)


def report(rows: list[Row]) -> None:
    for row in rows:
        print(f"{row.name:14} {row.group:8} {row.overlap:.3f} {row.seconds:6.2f} s")
    for group in dict.fromkeys(row.group for row in rows):
        print(f"{'mean':14} {group:8} {np.mean([row.overlap for row in rows if row.group == group]):.3f}")
    print(f"{'mean':14} {'all':8} {np.mean([r.overlap for r in rows]):.3f} {np.mean([r.seconds for r in rows]):6.2f} s")


def looks(portrait: Portrait, folder: Path, method: str) -> list[Image.Image]:
    """Return the portrait in the photo, its alpha, and its cut-out on each background."""
    photo = portrait.open(folder)
    cutout = align_portrait(photo, matting=method).cutout
    plain = align_portrait(photo, matting="none").image
    over = [Image.alpha_composite(Image.new("RGBA", cutout.size, color), cutout) for color in BACKGROUNDS]
    return [plain, cutout.getchannel("A").convert("RGB"), *(picture.convert("RGB") for picture in over)]


if __name__ == "__main__":
    sys.exit(main())
