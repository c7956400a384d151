"""Plot a figure of training runs over their steps.

python benchmarks/learning_curves.py RUN [RUN ...] -o curves.png [--figure psnr_unseen]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from curve import COLORS
from PIL import Image, ImageDraw, ImageFont

from facelift_core.training.loop import LOG_FILE

SIZE, MARGIN = (1000, 480), (70, 40, 30, 60)
LINES = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run of facelift-train")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--figure", default="psnr_unseen", help="name in log.jsonl (default %(default)s)")
    options = parser.parse_args()
    try:
        curves = {run.name: read_curve(run, options.figure) for run in options.runs}
    except (OSError, KeyError) as error:
        print(f"learning_curves: no such run or figure: {error}", file=sys.stderr)
        return 1
    draw(curves, options.figure).save(options.output)
    return 0


def read_curve(run: Path, figure: str) -> list[tuple[int, float]]:
    """Return the step and the figure of each validation."""
    records = map(json.loads, (run / LOG_FILE).read_text(encoding="utf-8").splitlines())
    return [(record["step"], record[figure]) for record in records]


def draw(curves: dict[str, list[tuple[int, float]]], title: str) -> Image.Image:
    """Draw one labeled line per run."""
    image = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    left, top, right, bottom = MARGIN[0], MARGIN[1], SIZE[0] - MARGIN[2], SIZE[1] - MARGIN[3]
    steps, values = zip(*(point for curve in curves.values() for point in curve), strict=True)
    low, room = min(values), (max(values) - min(values)) or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        return left + step / max(steps) * (right - left), bottom - (value - low) / room * (bottom - top)

    for i in range(LINES + 1):
        step, value = max(steps) * i / LINES, low + room * i / LINES
        pen.line((*place(0, value), *place(max(steps), value)), fill=(225, 225, 225))
        pen.text((left - 8, place(0, value)[1]), f"{value:.2f}", fill="black", font=font, anchor="rm")
        pen.text((place(step, low)[0], bottom + 8), f"{step:.0f}", fill="black", font=font, anchor="mt")
    pen.text((left, top - 10), title, fill="black", font=font, anchor="ls")
    pen.text(((left + right) / 2, SIZE[1] - 14), "steps", fill="black", font=font, anchor="ms")
    for (name, curve), color in zip(curves.items(), COLORS * len(curves), strict=False):
        points = [place(*point) for point in curve]
        pen.line(points, fill=color, width=2)
        pen.text((points[-1][0] - 6, points[-1][1] + 10), name, fill=color, font=font, anchor="rt")
    return image


if __name__ == "__main__":
    sys.exit(main())
