"""One head as a folder, in the layout that the released model was trained on: RGBA images and their cameras.

    000.png …              RGBA, straight alpha, square, all the same size
    opencv_cameras.json    {"frames": [{"w", "h", "fx", "fy", "cx", "cy", "w2c": 4 × 4, "file_path"}, …]}
    depth.npy              optional, our addition: (V, S, S) float16 as in the shards

Cameras and field of view follow docs/model.md, 5. Six frames must be the canonical views, in any order.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import FaceLiftError
from ...files import replacing
from ...rendering import cameras
from ...weights.state_dict import load_json
from .render import Views

CAMERAS_FILE = "opencv_cameras.json"
DEPTH_FILE = "depth.npy"
SAME_PLACE = 0.05
"""Tolerance for recognizing canonical cameras: distance in world units, and angle in radians."""
SAME_FOCAL = 0.01


def write_folder(target: Path, views: Views) -> None:
    """Write one head as a folder, under a temporary name until complete.

    Raises:
        FaceLiftError: the folder already exists or cannot be written.
    """
    if target.exists():
        raise FaceLiftError(f"{target} already exists; remove it or choose another folder.")
    size = views.rgba.shape[1]
    fx, fy, cx, cy = cameras.intrinsics(size).tolist()
    frames = []
    with replacing(target) as temporary:
        temporary.mkdir(parents=True)
        for number, (rgba, c2w) in enumerate(zip(views.rgba, views.c2w, strict=True)):
            name = f"{number:03d}.png"
            Image.fromarray(rgba, "RGBA").save(temporary / name)
            w2c = np.linalg.inv(c2w.astype(np.float64)).tolist()
            frames.append({"w": size, "h": size, "fx": fx, "fy": fy, "cx": cx, "cy": cy, "w2c": w2c, "file_path": name})
        (temporary / CAMERAS_FILE).write_text(json.dumps({"frames": frames}), encoding="utf-8")
        if views.depth is not None:
            np.save(temporary / DEPTH_FILE, views.depth)


def folder_paths(folder: Path) -> list[Path]:
    """Paths of the heads in `folder`, sorted by name."""
    return sorted(path.parent for path in Path(folder).glob(f"*/{CAMERAS_FILE}"))


def read_cameras(folder: Path) -> tuple[list[Path], np.ndarray, list[int], int]:
    """Read image paths, (V, 4, 4) float32 c2w, the order with the six canonical views first, and the image size.

    Raises:
        FaceLiftError: the file is missing or damaged, or a canonical view is missing.
    """
    path = folder / CAMERAS_FILE
    frames = load_json(path).get("frames")
    try:
        pictures = [folder / frame["file_path"] for frame in frames]
        w2c = np.array([frame["w2c"] for frame in frames], np.float64)
        lens = np.array([[frame[key] for key in ("w", "h", "fx", "fy", "cx", "cy")] for frame in frames], np.float64)
        c2w = np.linalg.inv(w2c).astype(np.float32)
        if c2w.shape[1:] != (4, 4) or not np.isfinite(lens).all():
            raise ValueError("numbers")
    except (KeyError, TypeError, ValueError, IndexError, np.linalg.LinAlgError):
        raise FaceLiftError(f"{path} does not list cameras with w, h, fx, fy, cx, cy, w2c and file_path.") from None
    size = int(lens[0, 0])
    wanted = [size, size, *cameras.intrinsics(size).tolist()]
    if (np.abs(lens - wanted) > SAME_FOCAL * size).any():
        raise FaceLiftError(
            f"The images in {folder} must be square, all the same size, and have a "
            f"{np.degrees(cameras.FIELD_OF_VIEW):.0f}° field of view."
        )
    first = []
    for name, canonical in zip(cameras.VIEW_NAMES, cameras.six_views().numpy(), strict=True):
        away = np.linalg.norm(c2w[:, :3, 3] - canonical[:3, 3], axis=1)
        turned = np.linalg.norm(c2w[:, :3, :3] - canonical[:3, :3], axis=(1, 2)) / np.sqrt(2)
        worst = np.maximum(away, turned)
        if worst.min() > SAME_PLACE:
            raise FaceLiftError(f"{folder} lacks the {name} view; all six canonical views are required.")
        first.append(int(worst.argmin()))
    return pictures, c2w, first + [n for n in range(len(pictures)) if n not in first], size


def read_folder(folder: Path) -> Views:
    """Read the head in `folder`, with the six canonical views first.

    Raises:
        FaceLiftError: as :func:`read_cameras`, or an image is missing, damaged or of the wrong size.
    """
    paths, c2w, order, size = read_cameras(folder)
    pictures = []
    for path in (paths[n] for n in order):
        try:
            with Image.open(path) as picture:
                pictures.append(np.asarray(picture.convert("RGBA")))
        except (OSError, SyntaxError, ValueError) as error:
            raise FaceLiftError(f"{path} cannot be read as an image: {error}.") from None
        if pictures[-1].shape[:2] != (size, size):
            raise FaceLiftError(f"{path} is not {size} × {size} pixels, as stated in {CAMERAS_FILE}.")
    return Views(np.stack(pictures), _read_depth(folder, len(paths), size, order), c2w[order])


def _read_depth(folder: Path, views: int, size: int, order: list[int]) -> np.ndarray | None:
    path = folder / DEPTH_FILE
    if not path.is_file():
        return None
    try:
        depth = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        depth = None
    if depth is None or depth.shape != (views, size, size):
        raise FaceLiftError(f"{path} is damaged; delete it to continue without depth.")
    return depth[order].astype(np.float16)
