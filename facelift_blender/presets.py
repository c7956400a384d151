"""Labels and descriptions of the presets in ``facelift_core.presets``."""

from __future__ import annotations

from facelift_core.presets import PRESETS as _PRESETS

STEPS = {name.upper(): how.steps for name, how in _PRESETS.items()}
DEFAULT = "QUALITY"
CUSTOM = "CUSTOM"
_ABOUT = {
    "QUALITY": ("Best", "For final heads: {steps} steps, the settings FaceLift was published with"),
    "BALANCED": ("Balanced", "For everyday use: {steps} steps; almost the same detail in a third of the time or less"),
    "FAST": ("Fast", "For trying out photos and seeds: {steps} steps"),
}
ITEMS = tuple((name, label, about.format(steps=STEPS[name])) for name, (label, about) in _ABOUT.items())
CUSTOM_ITEM = (CUSTOM, "Custom", "For trying other numbers of steps: as Best, with the number set under Advanced")


def of_steps(steps: int) -> str:
    """Return the preset of a file from before version 0.2, which stored only the number of steps."""
    return {50: "QUALITY", 10: "BALANCED", 8: "FAST"}.get(steps, CUSTOM) if steps else ""


def of_request(own) -> dict[str, str | int]:
    """Return preset and steps to request for a scene's settings; 0 steps means the preset's own number."""
    if own.preset == CUSTOM:
        return {"preset": DEFAULT.lower(), "steps": own.steps}
    return {"preset": own.preset.lower(), "steps": 0}
