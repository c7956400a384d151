"""Plot quality over cost with Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE, MARGIN = (1100, 640), (90, 40, 40, 70)
LABEL_STEP = 16
"""Pixels by which a label is moved up or down if it overlaps another one."""
COLORS = ((31, 90, 166), (200, 80, 30), (40, 140, 70), (140, 60, 150), (90, 90, 90))


@dataclass(frozen=True)
class Point:
    cost: float
    quality: float
    group: str
    name: str


def draw_curve(points: Sequence[Point], x_label: str, y_label: str, path: Path) -> None:
    """Plot points with a logarithmic cost axis, labels, and one color per group."""
    image = Image.new("RGB", SIZE, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    left, top, right, bottom = MARGIN[0], MARGIN[1], SIZE[0] - MARGIN[2], SIZE[1] - MARGIN[3]
    low_x, high_x = (math.log(f(p.cost for p in points)) for f in (min, max))
    low_x, high_x = low_x - 0.1, high_x + 0.1
    low_y, high_y = (f(p.quality for p in points) for f in (min, max))
    room = max(high_y - low_y, 1e-3) * 0.08
    low_y, high_y = low_y - room, high_y + room

    def place(cost: float, quality: float) -> tuple[float, float]:
        x = left + (math.log(cost) - low_x) / (high_x - low_x) * (right - left)
        return x, bottom - (quality - low_y) / (high_y - low_y) * (bottom - top)

    draw.rectangle((left, top, right, bottom), outline=(120, 120, 120))
    for i in range(6):
        quality = low_y + (high_y - low_y) * i / 5
        y = place(points[0].cost, quality)[1]
        draw.line((left, y, right, y), fill=(225, 225, 225))
        draw.text((left - 8, y), f"{quality:.2f}", fill="black", font=font, anchor="rm")
    for cost in sorted({p.cost for p in points}):
        x = place(cost, low_y)[0]
        draw.line((x, bottom, x, bottom + 5), fill="black")
    for cost in (30, 60, 120, 240, 480, 600):
        if low_x <= math.log(cost) <= high_x:
            draw.text((place(cost, low_y)[0], bottom + 8), str(cost), fill="black", font=font, anchor="mt")
    draw.text(((left + right) / 2, SIZE[1] - 18), x_label, fill="black", font=font, anchor="ms")
    draw.text((left, top - 10), y_label, fill="black", font=font, anchor="ls")
    groups = list(dict.fromkeys(p.group for p in points))
    taken = []
    for point in points:
        x, y = place(point.cost, point.quality)
        taken.append((x - 5, y - 5, x + 5, y + 5))
    for point in points:
        color = COLORS[groups.index(point.group) % len(COLORS)]
        x, y = place(point.cost, point.quality)
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=color)
        toward, anchor = (-1, "rm") if x > (left + right) * 0.6 else (1, "lm")
        for down in sorted(range(-LABEL_STEP * 8, LABEL_STEP * 8 + 1, LABEL_STEP), key=abs):
            label = x + 9 * toward, y + down
            box = draw.textbbox(label, point.name, font=font, anchor=anchor)
            if top < box[1] and box[3] < bottom and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        draw.line((x, y, x + 7 * toward, label[1]), fill=color)
        draw.text(label, point.name, fill=color, font=font, anchor=anchor)
    image.save(path)


def _overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
