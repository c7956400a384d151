"""A head as one HTML file with a viewer, which opens in a browser from disk, without a network.

page.html, page.css, viewer.js   our part of the page
vendor                           the viewer: Spark on three.js, from npm
"""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ..errors import FaceLiftError
from ..files import replacing
from ..gaussians import spz
from ..gaussians.arrays import SplatArrays
from ..gaussians.axes import Z_UP_TO_Y_UP

FOLDER = Path(__file__).parent
MODULES = {
    "three-core": "three.core.js",
    "three": "three.module.js",
    "three/addons/postprocessing/Pass.js": "Pass.js",
    "three/addons/controls/OrbitControls.js": "OrbitControls.js",
    "spark": "spark.module.min.js",
}
"""Files in ``vendor`` by the names that they are imported by, each after those that it imports."""
FIELD_OF_VIEW = 50.0
"""Of the six cameras (docs/model.md), in degrees."""
RADIUS = 2.7
"""Distance of the six cameras from the origin."""


@dataclass(frozen=True)
class Look:
    """How the page shows a head.

    Attributes:
        title: of the browser's tab.
        background: color as #rrggbb.
        azimuth: where the camera starts, in degrees: 0 the front, 90 the head's left side.
        elevation: of the camera above the horizon, in degrees.
        auto_rotate: whether the head turns until someone touches it.
        poster: bytes of a PNG, JPEG or WebP picture that is shown until the head is; None for none.
    """

    title: str = "Head"
    background: str = "#ffffff"
    azimuth: float = 0.0
    elevation: float = 0.0
    auto_rotate: bool = True
    poster: bytes | None = None


def write_page(splats: SplatArrays, path: str | Path, look: Look | None = None) -> None:
    """Write an HTML file that shows `splats`; it contains everything that it needs. Needs NumPy only.

    The Gaussians are kept as .spz (:mod:`facelift_core.gaussians.spz`). The camera is that of the published views if
    the Gaussians lie where a head does, else it frames them.

    Args:
        splats: the Gaussians; Z up, facing −Y.
        path: the file.
        look: how it is shown.

    Raises:
        FaceLiftError: `look` is not valid, there are no Gaussians, or the file cannot be written.
    """
    path, look = Path(path), look or Look()
    if not re.fullmatch("#[0-9a-fA-F]{6}", look.background):
        raise FaceLiftError(f"“{look.background}” is not a color; use #rrggbb.")
    if len(splats) == 0:
        raise FaceLiftError(f"There are no Gaussians to write to {path}.")
    target, distance = framing(splats.positions)
    settings = {
        "background": look.background,
        "fieldOfView": FIELD_OF_VIEW,
        "target": (Z_UP_TO_Y_UP[:3, :3] @ target).tolist(),
        "distance": distance,
        "azimuth": look.azimuth,
        "elevation": look.elevation,
        "autoRotate": look.auto_rotate,
    }
    values = {
        "title": html.escape(look.title),
        "background": look.background,
        "licenses": "\n".join(file.read_text("utf-8") for file in sorted((FOLDER / "vendor").glob("LICENSE.*"))),
        "style": (FOLDER / "page.css").read_text("utf-8"),
        "poster": f'<img id="poster" alt="" src="{_picture(look.poster)}">' if look.poster else "",
        "settings": json.dumps(settings).replace("<", "\\u003c"),
        "head": _base64(_spz(splats)),
        "modules": "\n".join(
            f'<script type="text/plain" class="module" data-name="{name}">'
            f"{_base64((FOLDER / 'vendor' / f'{file}.gz').read_bytes())}</script>"
            for name, file in MODULES.items()
        ),
        "viewer": (FOLDER / "viewer.js").read_text("utf-8"),
    }
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], (FOLDER / "page.html").read_text("utf-8"))
    with replacing(path) as temporary:
        temporary.write_text(page, "utf-8")


def framing(positions: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the (3,) point that the camera looks at, and its distance from there.

    That is the published camera if most of the (N, 3) positions lie in the unit cube around the origin.
    """
    if (np.abs(positions) <= 1.0).all(axis=1).mean() > 0.99:
        return np.zeros(3), RADIUS
    low, high = np.percentile(positions.astype(np.float64), [1, 99], axis=0)
    reach = max(float(np.linalg.norm(high - low)) / 2, 1e-6)
    return (low + high) / 2, reach / np.sin(np.radians(FIELD_OF_VIEW / 2))


def _spz(splats: SplatArrays) -> bytes:
    with TemporaryDirectory() as folder:
        spz.write(splats, Path(folder) / "head.spz")
        return (Path(folder) / "head.spz").read_bytes()


def _picture(data: bytes) -> str:
    kinds = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}
    kind = next((name for start, name in kinds.items() if data.startswith(start)), None)
    if kind is None:
        raise FaceLiftError("The poster of a web page must be a PNG, JPEG or WebP picture.")
    return f"data:image/{kind};base64,{_base64(data)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
