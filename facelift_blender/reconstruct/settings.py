"""What a scene remembers: photos and how to reconstruct them."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from .. import presets

_PRESET_ITEMS = (*presets.ITEMS, presets.CUSTOM_ITEM)
_PRESET_NAMES = [item[0] for item in _PRESET_ITEMS]

MATTINGS = (
    (
        "auto",
        "Automatic",
        "Its transparency if it has any, else rembg if it is installed, else the built-in cut",
    ),
    ("rembg", "rembg", "The neural network of the package rembg, which the runtime must have"),
    (
        "segmentation",
        "Built-In",
        "A small neural network around the face, single hairs by their colour; works everywhere",
    ),
    ("none", "None", "The photo has a white background already"),
)
LIKENESSES = (
    ("off", "Off", "The published result, drawn from the six views alone"),
    ("photo", "Photo", "The front is made from the photo's own pixels"),
    ("refined", "Refined", "As Photo, then fitted to the photo; takes up to a minute longer on a processor"),
)
DEVICES = (
    ("auto", "Automatic", "The graphics card if PyTorch can use it, else the processor"),
    ("cuda", "CUDA", "NVIDIA, or AMD with ROCm"),
    ("mps", "Metal", "Apple's graphics processor"),
    ("cpu", "Processor", "Works everywhere; slow with large weights"),
)


# Functions, for Blender evaluates the annotations below elsewhere, where a lambda would not find this module's names.
def _get_preset(self: FaceLiftSettings) -> int:
    from ..setup.preferences import get

    return _PRESET_NAMES.index(self.own_preset or _of_steps(self.own_steps) or get().default_preset)


def _set_preset(self: FaceLiftSettings, value: int) -> None:
    if _PRESET_NAMES[value] == presets.CUSTOM and self.preset != presets.CUSTOM:
        self.own_steps = self.steps
    self.own_preset = _PRESET_NAMES[value]


def _of_steps(steps: int) -> str:
    """The preset of a file whose preset was stored as its number of steps, as before version 0.2."""
    return presets.of_steps(steps) if steps else ""


def _get_steps(self: FaceLiftSettings) -> int:
    return self.own_steps if self.preset == presets.CUSTOM else presets.STEPS[self.preset]


def _set_steps(self: FaceLiftSettings, value: int) -> None:
    self.own_steps, self.own_preset = value, presets.CUSTOM


class FaceLiftPhoto(bpy.types.PropertyGroup):
    path: StringProperty(name="Photo", subtype="FILE_PATH")


class FaceLiftSettings(bpy.types.PropertyGroup):
    photo: StringProperty(
        name="Photo", description="Portrait photo to reconstruct; the largest face in it is taken", subtype="FILE_PATH"
    )
    more_photos: CollectionProperty(
        type=FaceLiftPhoto, name="More Photos", description="Reconstructed one after the other"
    )
    seed: IntProperty(
        name="Seed", description="Of the random numbers; another one gives another guess of what the photo hides",
        default=4, min=0,
    )  # fmt: skip
    own_preset: StringProperty(options={"HIDDEN"})
    own_steps: IntProperty(default=0, min=0, options={"HIDDEN"})
    steps: IntProperty(
        name="Steps",
        description="Of the diffusion that makes the six views",
        min=1,
        soft_min=5,
        soft_max=100,
        max=1000,
        get=_get_steps,
        set=_set_steps,
    )
    preset: EnumProperty(
        name="Quality",
        description="How much work goes into the views",
        items=_PRESET_ITEMS,
        get=_get_preset,
        set=_set_preset,
    )
    likeness: EnumProperty(
        name="Likeness", description="How much of the photo itself the head shows", items=LIKENESSES, default="photo"
    )
    guidance_scale: FloatProperty(
        name="Guidance",
        description="How closely the views follow the photo. 0: as the weights are best; 1: no guidance, half the time",
        default=0.0,
        min=0.0,
        soft_max=10.0,
    )
    crop: BoolProperty(
        name="Find the Face",
        description="Scale and place the face as the models expect. Off: the photo is an aligned portrait already",
        default=True,
    )
    matting: EnumProperty(name="Background", description="How to remove it", items=MATTINGS, default="auto")
    device: EnumProperty(name="Device", description="What to compute on", items=DEVICES, default="auto")
    weights: StringProperty(
        name="Weights",
        description="“mini”, “released”, or the folder of a FaceLift checkpoint. Empty: as in the preferences",
        subtype="DIR_PATH",
    )


def photos_of(own: FaceLiftSettings) -> list[str]:
    """The scene's photos in order."""
    return [path for path in (own.photo, *(photo.path for photo in own.more_photos)) if path.strip()]


def set_photos(own: FaceLiftSettings, paths: list[str]) -> None:
    """The scene's photos; the first is the one that is shown large."""
    own.photo = paths[0]
    own.more_photos.clear()
    for path in paths[1:]:
        own.more_photos.add().path = path


CLASSES = (FaceLiftPhoto, FaceLiftSettings)


def attach() -> None:
    bpy.types.Scene.facelift = PointerProperty(type=FaceLiftSettings)


def detach() -> None:
    del bpy.types.Scene.facelift
