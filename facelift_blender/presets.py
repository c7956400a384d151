"""How much work goes into the views: the presets of ``facelift_core.presets``."""

from __future__ import annotations

from facelift_core.presets import PRESETS as _PRESETS

STEPS = {name.upper(): how.steps for name, how in _PRESETS.items()}
DEFAULT = "QUALITY"
CUSTOM = "CUSTOM"
_ABOUT = {
    "QUALITY": "{steps} steps, as FaceLift was published",
    "BALANCED": "{steps} steps of a faster solver: a third of the time or less, hardly less detail",
    "FAST": "{steps} steps of a faster solver, to try photos and seeds",
}
ITEMS = tuple((name, name.capitalize(), about.format(steps=STEPS[name])) for name, about in _ABOUT.items())
CUSTOM_ITEM = (CUSTOM, "Custom", "As Quality, with the number of steps set under Advanced")


def of_steps(steps: int) -> str:
    """The preset with so many steps, else CUSTOM."""
    return next((name for name, count in STEPS.items() if count == steps), CUSTOM)


def of_request(own) -> dict[str, str | int]:
    """Preset and steps of a reconstruction, by a scene's settings; 0 steps: as many as the preset has."""
    if own.preset == CUSTOM:
        return {"preset": DEFAULT.lower(), "steps": own.steps}
    return {"preset": own.preset.lower(), "steps": 0}
