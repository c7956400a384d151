"""Text layout for narrow panels."""

from __future__ import annotations

import blf

TEXT_MARGIN = 16.0
"""Pixels at UI scale 1 that a label leaves beside its text."""
ICON = 20.0
"""Width of an icon in pixels at UI scale 1."""
BESIDE = 66.0
"""Pixels at UI scale 1 of a sidebar that its panels and their boxes do not have: tabs, scroll bar, margins."""


def paragraphs(layout, text: str, context, icon: str = "NONE", width: float = 0.0) -> None:
    """Wrap `text` to the region and draw it as labels, with `icon` on the first line.

    Args:
        width: width for the text in pixels at UI scale 1, as in a dialog; 0 uses that of a box in the region.
    """
    scale = context.preferences.system.ui_scale
    if not width:
        width = (context.region.width if context.region is not None else 300) / scale - BESIDE
    width -= TEXT_MARGIN + (ICON if icon != "NONE" else 0.0)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(wrapped(text, width * scale, context)):
        column.label(text=line, icon=icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE"))


def wrapped(text: str, width: float, context) -> list[str]:
    """Lines of `text` no wider than `width` pixels, where its words allow it."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and text_width(longer, context) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def text_width(text: str, context) -> float:
    """Width of `text` as a label or on a button, in pixels."""
    points = context.preferences.ui_styles[0].widget.points
    blf.size(0, points * context.preferences.system.ui_scale)
    return blf.dimensions(0, text)[0]


def duration(seconds: float) -> str:
    """Format a duration, for example "8 s" or "2 min 5 s"."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def rough_duration(seconds: float) -> str:
    """Format a duration in one unit, for example "75 s" or "4 min"."""
    return f"{max(1, round(seconds))} s" if seconds < 100 else f"{round(seconds / 60)} min"
