"""Ready-made expressions, and the shapes in groups as the panel shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from facelift_core.animation.rig import SHAPES


@dataclass(frozen=True)
class Pose:
    """A ready-made expression: strengths of shapes by their names; `X*` stands for XLeft and XRight."""

    label: str
    tip: str
    weights: dict[str, float]

    def strength(self, shape: str) -> float:
        stem = shape.removesuffix("Left").removesuffix("Right")
        return self.weights.get(shape, self.weights.get(f"{stem}*", 0.0) if stem != shape else 0.0)


PHOTO = "PHOTO"
POSES = {
    PHOTO: Pose("As in the Photo", "The expression of the photo, without anything added", {}),
    "SMILE": Pose("Smile", "A gentle smile with closed lips",
                  {"mouthSmile*": 0.6, "cheekSquint*": 0.25, "eyeSquint*": 0.15}),
    "BIG_SMILE": Pose("Big Smile", "A broad smile that shows the teeth",
                      {"mouthSmile*": 0.9, "mouthUpperUp*": 0.35, "mouthLowerDown*": 0.3, "jawOpen": 0.12,
                       "cheekSquint*": 0.6, "eyeSquint*": 0.35}),
    "OPEN_MOUTH": Pose("Open Mouth", "The jaw hangs open", {"jawOpen": 0.7}),
    "SURPRISE": Pose("Surprise", "Brows up, eyes wide, mouth open",
                     {"browInnerUp": 0.8, "browOuterUp*": 0.8, "eyeWide*": 0.7, "jawOpen": 0.4, "mouthFunnel": 0.2}),
    "FROWN": Pose("Frown", "Brows together, corners of the mouth down",
                  {"browDown*": 0.6, "mouthFrown*": 0.6, "mouthShrugLower": 0.2}),
    "SAD": Pose("Sad", "Inner brows up, corners of the mouth down",
                {"browInnerUp": 0.8, "mouthFrown*": 0.6, "mouthShrugLower": 0.4, "mouthRollLower": 0.15,
                 "eyeLookDown*": 0.2, "eyeSquint*": 0.2}),
    "ANGRY": Pose("Angry", "Brows down, nose wrinkled, lips pressed",
                  {"browDown*": 0.9, "noseSneer*": 0.5, "mouthPress*": 0.5, "mouthFrown*": 0.3, "eyeSquint*": 0.4,
                   "jawForward": 0.2}),
    "BLINK": Pose("Blink", "Both eyes closed", {"eyeBlink*": 1.0}),
    "WINK": Pose("Wink", "The left eye closed, with a smile on that side",
                 {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.6, "mouthSmileLeft": 0.4, "mouthSmileRight": 0.15}),
    "OO": Pose("Say “Oo”", "Lips forward and round, as in “you”", {"mouthPucker": 0.8, "jawOpen": 0.08}),
    "EE": Pose("Say “Ee”", "Lips wide, as in “see”",
               {"mouthStretch*": 0.5, "mouthSmile*": 0.3, "mouthUpperUp*": 0.15, "mouthLowerDown*": 0.35,
                "jawOpen": 0.08}),
    "MM": Pose("Say “Mm”", "Lips pressed together, as in “me”",
               {"mouthPress*": 0.5, "mouthRollLower": 0.4, "mouthRollUpper": 0.4}),
    "KISS": Pose("Kiss", "Lips pursed, eyes closed",
                 {"mouthPucker": 1.0, "mouthFunnel": 0.15, "eyeBlink*": 0.9, "browInnerUp": 0.2}),
    "LOOK_LEFT": Pose("Look Left", "Eyes to the person's left", {"eyeLookOutLeft": 0.7, "eyeLookInRight": 0.7}),
    "LOOK_RIGHT": Pose("Look Right", "Eyes to the person's right", {"eyeLookInLeft": 0.7, "eyeLookOutRight": 0.7}),
}  # fmt: skip


def picture_of(name: str) -> Path:
    """The file with the picture of an expression of :data:`POSES` (see ``pictures/README.md``)."""
    return Path(__file__).parent / "pictures" / f"{name.lower()}.png"


GROUPS = {
    "Brows": ("brow",),
    "Eyes": ("eye",),
    "Jaw": ("jaw",),
    "Mouth": ("mouth",),
    "Cheeks": ("cheek",),
    "Nose and Tongue": ("nose", "tongue"),
}
"""Label → beginnings of the names of the shapes."""


def shapes_of(group: str) -> tuple[str, ...]:
    return tuple(shape for shape in SHAPES if shape.startswith(GROUPS[group]))


def label_of(shape: str) -> str:
    """The name of a shape as a label: “mouthSmileLeft” is “Mouth Smile Left”."""
    words = re.sub(r"(?=[A-Z])", " ", shape)
    return words[0].upper() + words[1:]
