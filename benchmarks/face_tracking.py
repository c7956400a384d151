"""Measure face tracking: synthetic people whose expressions are known, and photos that move.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/face_tracking.py --heads 8
    OMP_WAIT_POLICY=PASSIVE python benchmarks/face_tracking.py --photos FOLDER [--sheet FILE.png]

A synthetic person smiles, opens the jaw, moves the brows, blinks, and puckers while the head turns by ± 15°, in 48
frames of 512 × 512 pixels, compressed as .mp4 (facelift_core/training/performance.py). Printed is the mean error of the
weights of each shape, over all frames and over those in which the shape acts (more than .1), beside the error of a take
without any motion, and the correlation with the true weights.

With `--photos`, each photo rolls by 20° and the camera comes closer by a third, in 24 frames: the weights should not
change. Printed are their mean deviation from their median, and the deviation of the roll in degrees.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from facelift_core.align.landmarks import COUNT
from facelift_core.animation import SHAPES, tracking, video
from facelift_core.animation.response import load_response
from facelift_core.errors import FaceLiftError
from facelift_core.photos import open_photo
from facelift_core.training.performance import FPS, performance, pictures, write_frames

FIRST_SEED = 5_000_000
FRAMES, STILL_FRAMES = 48, 24
ACTING = 0.1
ROLL, SIDE = 20.0, 480


def synthetic(heads: int, folder: Path) -> None:
    truth = performance(FRAMES)
    acting, driven = truth.weights > ACTING, truth.weights.any(axis=0)
    takes, turns, seconds = [], [], 0.0
    for seed in range(FIRST_SEED, FIRST_SEED + heads):
        path = folder / f"{seed}.mp4"
        write_frames(path, pictures(seed, truth), FPS)
        start = time.process_time()
        take = tracking.track_video(path)
        seconds += time.process_time() - start
        takes.append(take.weights)
        difference = take.head - truth.head
        turns.append(np.degrees(np.abs(difference - np.median(difference, axis=0))).mean(axis=0))
    found = np.array(takes)
    error = np.abs(found - truth.weights)

    def row(name: str, of: np.ndarray) -> None:
        here = acting & of
        quiet = f"{truth.weights[here].mean():.2f}" if here.any() else "–"
        acted = f"{error[:, here].mean():.2f}" if here.any() else "–"
        alike = f"{correlation(found, truth.weights, np.flatnonzero(of & driven)):.2f}" if here.any() else "–"
        means = f"{error[:, :, of].mean():.3f} | {truth.weights[:, of].mean():.3f}"
        print(f"| {name} | {means} | {acted} | {quiet} | {alike} |")

    print(f"\n{heads} heads, {FRAMES} frames; {seconds / heads / FRAMES * 1000:.0f} ms of processor time per frame\n")
    print("| shapes | error | no motion | error while acting | no motion | correlation |\n|---|--:|--:|--:|--:|--:|")
    for k in np.flatnonzero(driven):
        row(SHAPES[k], np.arange(len(SHAPES)) == k)
    row("all that act", driven)
    row("all that rest", ~driven)
    row("all 52", np.ones(len(SHAPES), bool))
    yaw, pitch, roll = np.mean(turns, axis=0)
    print(f"\nHead, apart from a constant: yaw {yaw:.1f}°, pitch {pitch:.1f}°, roll {roll:.1f}° mean error")


def correlation(found: np.ndarray, truth: np.ndarray, shapes: np.ndarray) -> float:
    """Mean over the takes, (N, T, 52), and some shapes; a shape that never moves counts as 0."""
    each = [
        take[:, k] @ (truth[:, k] - truth[:, k].mean()) for take in found - found.mean(1, keepdims=True) for k in shapes
    ]
    sizes = [len(truth) * take[:, k].std() * truth[:, k].std() for take in found for k in shapes]
    return float(np.mean(np.array(each) / np.maximum(sizes, 1e-9)))


def moving(photo: Image.Image) -> Iterator[np.ndarray]:
    """Frames in which the photo rolls clockwise, and grows."""
    for step in np.linspace(0, 1, STILL_FRAMES):
        turn = cv2.getRotationMatrix2D((photo.width / 2, photo.height / 2), -ROLL * step, 1 + step / 3)
        pixels = cv2.warpAffine(
            np.asarray(photo), turn, photo.size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        yield pixels[: photo.height // 2 * 2, : photo.width // 2 * 2]


def photos(paths: list[Path], folder: Path, sheet: Path | None) -> None:
    tiles = []
    print("| photo | weights | largest | roll, degrees |\n|---|--:|--:|--:|")
    for path in paths:
        image = open_photo(path).image.convert("RGB")
        image.thumbnail((SIDE, SIDE))
        film = folder / "photo.mp4"
        write_frames(film, moving(image), FPS)
        try:
            take = tracking.track_video(film)
        except FaceLiftError as error:
            print(f"| {path.stem} | {error} |")
            continue
        drift = np.abs(take.weights - np.median(take.weights, axis=0)).mean(axis=0)
        roll = np.degrees(take.head[:, 2] - take.head[0, 2]) + ROLL * np.linspace(0, 1, STILL_FRAMES)
        worst = int(drift.argmax())
        print(f"| {path.stem} | {drift.mean():.3f} | {SHAPES[worst]} {drift[worst]:.2f} | {np.abs(roll).mean():.1f} |")
        tiles += overlays(film) if sheet else []
    if sheet and tiles:
        rows = [np.concatenate(tiles[i : i + 3], axis=1) for i in range(0, len(tiles), 3)]
        Image.fromarray(np.concatenate(rows)).save(sheet)


def overlays(film: Path) -> list[np.ndarray]:
    """The first, middle, and last frame of a video with the points that are followed, (320, 320, 3) each."""
    follow, tiles = tracking.Follower(load_response().chart), []
    for number, frame in enumerate(video.frames(video.open_video(film))):
        seen = follow(frame.pixels)
        if number in (0, STILL_FRAMES // 2, STILL_FRAMES - 1):
            drawn = frame.pixels.copy()
            for place, (x, y) in enumerate(seen[0][:, :2] if seen else ()):
                color = (0, 255, 0) if place < COUNT else (255, 0, 0)
                cv2.circle(drawn, (round(float(x)), round(float(y))), 1, color, -1)
            tiles.append(cv2.resize(drawn, (320, 320)))
    return tiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=8, help="synthetic people (default %(default)s)")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos that move, instead of synthetic people")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="with --photos: frames with the tracked points")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.photos:
            photos(sorted(path for path in args.photos.iterdir() if path.is_file()), Path(folder), args.sheet)
        else:
            synthetic(args.heads, Path(folder))


if __name__ == "__main__":
    main()
