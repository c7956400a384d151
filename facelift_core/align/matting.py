"""Remove the background by the photo's alpha, U²-Net as in rembg, or built-in segmentation (docs/model.md, 2.1)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import FaceLiftError
from ..photos import Photo
from ..user_dirs import expanded
from .crop import Box
from .cutout import cut_out

METHODS = ("auto", "alpha", "rembg", "segmentation", "none")

_NOTES = {
    "alpha": "Background: the photo's own transparency is used.",
    "rembg": "Background: removed with U²-Net.",
    "segmentation": "Background: removed by the built-in segmentation.",
    "none": "Background: left unchanged.",
}


@dataclass(frozen=True)
class Matte:
    """The matte of a photo.

    Attributes:
        alpha: mode L, the size of the photo, 255 = person.
        method: the method used, one of :data:`METHODS` except "auto".
        note: one sentence for the user that says what was done.
    """

    alpha: Image.Image
    method: str
    note: str


def choose_method(photo: Photo, method: str = "auto") -> str:
    """Resolve "auto" for `photo`, or check that another method is available and return it.

    "auto" selects, in this order: the photo's alpha; "none" if the background is white already; U²-Net if onnxruntime
    and rembg's model file are installed (nothing is downloaded); the built-in segmentation.

    Raises:
        FaceLiftError: the method is unknown, or cannot be used with this photo or on this machine.
    """
    if method not in METHODS:
        raise FaceLiftError(f"Unknown matting method {method!r}; use one of {', '.join(METHODS)}.")
    if method == "alpha" and photo.image.mode != "RGBA":
        raise FaceLiftError(f"{photo.name} has no transparency to use as a matte; choose another matting method.")
    if method == "rembg" and importlib.util.find_spec("onnxruntime") is None:
        raise FaceLiftError(
            "rembg cannot remove the background because onnxruntime is not installed; choose automatic matting."
        )
    if method == "rembg" and _model_file() is None:
        raise FaceLiftError(
            "rembg cannot remove the background because its model u2net.onnx is missing; choose automatic matting."
        )
    if method != "auto":
        return method
    if photo.image.mode == "RGBA":
        return "alpha"
    return "none" if is_on_white(photo.image) else best_network()


def best_network() -> str:
    """Return "rembg" if U²-Net can be used on this machine, otherwise "segmentation"."""
    available = importlib.util.find_spec("onnxruntime") is not None and _model_file() is not None
    return "rembg" if available else "segmentation"


def remove_background(
    photo: Photo,
    face_box: Box | None = None,
    method: str = "auto",
    *,
    others: Sequence[Box] = (),
    around_face: bool = False,
) -> Matte:
    """Compute the matte of the person in `photo`.

    Args:
        photo: the photo.
        face_box: the face, in pixels of the photo. Like `others` and `around_face`, used only by the segmentation.
        method: one of :data:`METHODS`.
        others: faces of people to leave out.
        around_face: process only the region that the portrait of `face_box` shows, which is faster and more detailed.

    Raises:
        FaceLiftError: as :func:`choose_method`, or the model file cannot be loaded.
    """
    method = choose_method(photo, method)
    if method == "rembg":
        alpha = _u2net(photo.image)
    elif method == "segmentation":
        pixels = np.asarray(photo.image.convert("RGB"))
        alpha = Image.fromarray(cut_out(pixels, face_box, others, around_face=around_face))
    elif photo.image.mode == "RGBA":
        alpha = photo.image.getchannel("A")
    else:
        alpha = Image.new("L", photo.image.size, 255)
    return Matte(alpha, method, _NOTES[method])


def on_white(image: Image.Image) -> Image.Image:
    """Composite an RGBA image over white. Returns RGB."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def is_on_white(image: Image.Image) -> bool:
    """Return whether the border of the image above the shoulders is almost entirely white."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    strip = max(2, min(height, width) // 64)
    top, left, right = pixels[:strip], pixels[: height // 2, :strip], pixels[: height // 2, -strip:]
    return all((side.min(-1) >= 248).mean() > 0.97 for side in (top, left, right))


def _model_file() -> Path | None:
    """Return the path of rembg's u2net.onnx, where current or older versions of rembg keep it, or None."""
    home = os.environ.get("U2NET_HOME")
    data = os.environ.get("XDG_DATA_HOME")
    rooted = home or os.environ.get("REMBG_HOME") or (f"{data}/rembg" if data else "~/.rembg")
    flat = home or f"{data or '~'}/.u2net"
    candidates = Path(rooted, "models", "u2net", "u2net.onnx"), Path(flat, "u2net.onnx")
    return next((file for file in map(expanded, candidates) if file.is_file()), None)


def _u2net(image: Image.Image) -> Image.Image:
    """Compute the same mask as rembg's session "u2net". rembg itself would download a missing or damaged model."""
    import onnxruntime

    file = _model_file()
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own exception class for each kind of damage
        raise FaceLiftError(f"{file} is damaged; delete it, or choose another matting method.") from error
    pixels = np.asarray(image.convert("RGB").resize((320, 320), Image.Resampling.LANCZOS), np.float64)
    pixels = (pixels / max(pixels.max(), 1e-6) - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    batch = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    mask = session.run(None, {session.get_inputs()[0].name: batch})[0][0, 0]
    mask = (mask - mask.min()) / max(np.ptp(mask), 1e-6)
    return Image.fromarray((mask * 255).astype(np.uint8)).resize(image.size, Image.Resampling.LANCZOS)
