"""Quality by the number of diffusion steps, which is what takes the time."""

from __future__ import annotations

STEPS = {"QUALITY": 50, "BALANCED": 25, "FAST": 12}
DEFAULT = "QUALITY"
CUSTOM = "CUSTOM"
ITEMS = (
    ("QUALITY", "Quality", "50 steps, as FaceLift was published"),
    ("BALANCED", "Balanced", "25 steps: half the time, hardly less detail"),
    ("FAST", "Fast", "12 steps, to try photos and seeds"),
)
CUSTOM_ITEM = (CUSTOM, "Custom", "The number of steps set under Advanced")


def of_steps(steps: int) -> str:
    """The preset with so many steps, else CUSTOM."""
    return next((name for name, count in STEPS.items() if count == steps), CUSTOM)
