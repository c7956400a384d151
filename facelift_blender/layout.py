"""Text layout for narrow panels."""

from __future__ import annotations

import textwrap

POINTS_PER_LETTER = 7.0


def paragraphs(layout, text: str, context, icon: str = "NONE", indent: float = 60.0, width: float = 0.0) -> None:
    """Wrap `text` to the region and draw it as labels, with `icon` on the first line.

    Args:
        indent: pixels at UI scale 1 that are not available for text.
        width: width of a dialog in pixels at UI scale 1; 0 uses the width of the region.
    """
    scale = context.preferences.system.ui_scale
    if width:
        width *= scale
    else:
        width = context.region.width if context.region is not None else 300
    letters = max(16, int((width - indent * scale) / (POINTS_PER_LETTER * scale)))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(text, letters) or [""]):
        column.label(text=line, icon=icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE"))


def duration(seconds: float) -> str:
    """Format a duration, for example "8 s" or "2 min 5 s"."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"
