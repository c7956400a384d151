"""Scene properties: photos and reconstruction settings."""

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
from facelift_core.jobs import durations
from facelift_core.jobs.reconstruct import Request

from .. import presets
from ..layout import rough_duration

_PRESET_ITEMS = (*presets.ITEMS, presets.CUSTOM_ITEM)
_PRESET_NAMES = [item[0] for item in _PRESET_ITEMS]

MATTINGS = (
    (
        "auto",
        "Automatic",
        "For most photos: uses the photo's transparency if it has any, else rembg if it is installed, else Built-in",
    ),
    ("rembg", "rembg", "If you have installed rembg: removes the background with its neural network"),
    ("segmentation", "Built-in", "If rembg is installed but cuts out too much or too little: works on every computer"),
    ("none", "None", "For photos that already have a white background"),
)
LIKENESSES = (
    ("off", "Off", "For the published result: the head is made from the six views alone"),
    ("photo", "Photo", "For most photos: the front of the head uses the photo's own pixels"),
    ("refined", "Refined", "For the closest match: as Photo, then fitted to it; up to a minute longer without a GPU"),
)
DEVICES = (
    ("auto", "Automatic", "For most computers: the GPU if FaceLift supports it, else the CPU"),
    ("cuda", "CUDA", "For NVIDIA GPUs, and AMD GPUs with ROCm"),
    ("mps", "Metal", "For Apple GPUs"),
    ("cpu", "CPU", "If the GPU has too little memory: works on every computer, but is slow with the released weights"),
)


_shown_presets: list[tuple[str, str, str]] = []
"""Referred to here, because Blender does not keep the strings of items that a function returns."""


# Not lambdas: Blender evaluates the annotations below outside this module, where lambdas would not find its names.
def _preset_items(self: FaceLiftSettings, context) -> list[tuple[str, str, str]]:
    """The presets, with how long each took last with these settings on this machine."""
    from ..setup import preferences

    weights = preferences.weights(context, self.weights)
    found = []
    for name, label, about in _PRESET_ITEMS:
        preset, steps = (presets.DEFAULT, self.own_steps) if name == presets.CUSTOM else (name, 0)
        request = Request(
            "", "", weights, self.device, preset.lower(), steps, self.guidance_scale, likeness=self.likeness
        )
        runs = durations.runs(request) if steps or name != presets.CUSTOM else []
        took = f" ({rough_duration(durations.without_load(runs[-1]))})" if runs else ""
        found.append((name, label + took, about))
    if found != _shown_presets:
        _shown_presets[:] = found
    return _shown_presets


def _photo_changed(self: FaceLiftSettings, context) -> None:
    self.show_photo = True


def _get_preset(self: FaceLiftSettings) -> int:
    from ..setup.preferences import get

    return _PRESET_NAMES.index(self.own_preset or presets.of_steps(self.own_steps) or get().default_preset)


def _set_preset(self: FaceLiftSettings, value: int) -> None:
    if _PRESET_NAMES[value] == presets.CUSTOM and self.preset != presets.CUSTOM:
        self.own_steps = self.steps
    self.own_preset = _PRESET_NAMES[value]


def _get_steps(self: FaceLiftSettings) -> int:
    return self.own_steps if self.preset == presets.CUSTOM else presets.STEPS[self.preset]


def _set_steps(self: FaceLiftSettings, value: int) -> None:
    self.own_steps, self.own_preset = value, presets.CUSTOM


class FaceLiftPhoto(bpy.types.PropertyGroup):
    path: StringProperty(name="Photo", subtype="FILE_PATH")


class FaceLiftSettings(bpy.types.PropertyGroup):
    photo: StringProperty(
        name="Photo",
        description="Portrait photo to make a head from. If there are several faces, the largest is used",
        subtype="FILE_PATH",
        update=_photo_changed,
    )
    show_photo: BoolProperty(
        name="Photo", description="Show the photo and its cut-out", default=True, options={"HIDDEN", "SKIP_SAVE"}
    )
    more_photos: CollectionProperty(
        type=FaceLiftPhoto, name="More Photos", description="Further photos, each made into a head one after the other"
    )
    seed: IntProperty(
        name="Seed", description="Random seed. Change it to get another version of what the photo does not show",
        default=4, min=0,
    )  # fmt: skip
    own_preset: StringProperty(options={"HIDDEN"})
    own_steps: IntProperty(default=0, min=0, options={"HIDDEN"})
    steps: IntProperty(
        name="Steps",
        description="Number of steps in which the six views are drawn. More steps take longer",
        min=1,
        soft_min=5,
        soft_max=100,
        max=1000,
        get=_get_steps,
        set=_set_steps,
    )
    preset: EnumProperty(
        name="Quality",
        description="More detail or less time. In parentheses, how long the last head took here",
        items=_preset_items,
        get=_get_preset,
        set=_set_preset,
    )
    likeness: EnumProperty(
        name="Likeness", description="How closely the head matches the photo", items=LIKENESSES, default="photo"
    )
    guidance_scale: FloatProperty(
        name="Guidance",
        description="How closely the views follow the photo. 0 uses the value the weights were made for; 1 follows it "
        "least, in half the time",
        default=0.0,
        min=0.0,
        soft_max=10.0,
    )
    crop: BoolProperty(
        name="Find the Face",
        description="Find, scale and center the face. Turn off if the photo is already an aligned portrait",
        default=True,
    )
    matting: EnumProperty(name="Background", description="How to remove the background", items=MATTINGS, default="auto")
    device: EnumProperty(name="Device", description="Device to reconstruct on", items=DEVICES, default="auto")
    weights: StringProperty(
        name="Weights",
        description="“mini” (built-in), “released”, or a folder with FaceLift weights. Leave empty to use the weights "
        "chosen in the preferences",
        subtype="DIR_PATH",
    )


def photos_of(own: FaceLiftSettings) -> list[str]:
    """The scene's photos in order."""
    return [path for path in (own.photo, *(photo.path for photo in own.more_photos)) if path.strip()]


def set_photos(own: FaceLiftSettings, paths: list[str]) -> None:
    """Set the scene's photos; the first one is shown, with its cut-out."""
    own.photo = paths[0]
    own.more_photos.clear()
    for path in paths[1:]:
        own.more_photos.add().path = path


CLASSES = (FaceLiftPhoto, FaceLiftSettings)


def attach() -> None:
    bpy.types.Scene.facelift = PointerProperty(type=FaceLiftSettings)


def detach() -> None:
    del bpy.types.Scene.facelift
