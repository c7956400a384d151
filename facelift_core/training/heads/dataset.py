"""Datasets of heads on disk: deterministic shards, or folders (see :mod:`.folders`).

A shard ``heads-<first seed, 8 digits>.npz`` contains the heads of consecutive seeds, uncompressed:

    rgba   uint8   (N, V, S, S, 4)  sRGB, straight alpha
    depth  float16 (N, V, S, S)     world units along the camera's axis, 0 where empty
    c2w    float32 (N, V, 4, 4)     OpenCV convention, world of docs/model.md, 5
    seeds  int64   (N,)
    sampled uint8  (N, 6, S, S, 3)  only after `facelift-train sample`: the input views, sampled by the diffusion

Views 0-5 are the six canonical ones, the others random. Heads and cameras depend only on the seed.
"""

from __future__ import annotations

import math
import mmap
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import FaceLiftError
from ...files import replacing
from .folders import folder_paths, read_cameras, read_folder
from .render import Views, render, sample_cameras
from .scene import make_head

SHARD_SIZE = 256
_CAMERA_STREAM = 100
LOOK_AGAIN = 5.0
"""Seconds between scans of a folder that is still being filled."""
_ARRAYS = {"rgba": (np.uint8, 5), "depth": (np.float16, 4), "c2w": (np.float32, 4), "seeds": (np.int64, 1)}
_SAMPLED = {"sampled": (np.uint8, 5)}


def generate(seed: int, size: int = 64, random_views: int = 4) -> Views:
    """Generate the head with this seed: six canonical views, then `random_views` random ones."""
    c2w = sample_cameras(np.random.default_rng([seed, _CAMERA_STREAM]), random_views)
    return render(make_head(seed), c2w, size)


def shard_path(folder: Path, first_seed: int) -> Path:
    return Path(folder) / f"heads-{first_seed:08d}.npz"


def write_shard(folder: Path, seeds: Iterable[int], size: int = 64, random_views: int = 4) -> Path:
    """Generate heads of consecutive seeds and write them as one shard, under a temporary name until complete."""
    seeds = np.array(list(seeds), np.int64)
    samples = [generate(int(seed), size, random_views) for seed in seeds]
    arrays = (np.stack([getattr(sample, name) for sample in samples]) for name in ("rgba", "depth", "c2w"))
    path = shard_path(folder, int(seeds[0]))
    save_shard(path, Shard(*arrays, seeds))
    return path


def save_shard(path: Path, shard: Shard) -> None:
    """Write a shard. Raises FaceLiftError, and leaves no file behind, if it cannot be written."""
    with replacing(path) as temporary:
        np.savez(temporary, **{name: array for name, array in vars(shard).items() if array is not None})


@dataclass(frozen=True)
class Shard:
    """Arrays of one shard, with shapes as described in this module; read-only memory maps if read from a file."""

    rgba: np.ndarray
    depth: np.ndarray
    c2w: np.ndarray
    seeds: np.ndarray
    sampled: np.ndarray | None = None

    def views(self, row: int) -> Views:
        sampled = None if self.sampled is None else self.sampled[row]
        return Views(self.rgba[row], self.depth[row], self.c2w[row], sampled)

    def with_sampled(self, sampled: np.ndarray) -> Shard:
        return replace(self, sampled=sampled)


def shard_paths(folder: Path) -> list[Path]:
    """Paths of the shards in `folder`, ordered by first seed.

    Raises:
        FaceLiftError: there are no shards.
    """
    paths = sorted(Path(folder).glob("heads-*.npz"))
    if not paths:
        raise FaceLiftError(
            f"There are no shards of heads in {folder}; generate some with `facelift-train heads -o {folder}`."
        )
    return paths


def read_shard(path: Path) -> Shard:
    """Open a shard without reading its pixels.

    Raises:
        FaceLiftError: the file is missing, or is not a complete shard.
    """
    problem = f"{path} is not a complete shard of heads; delete it and run `facelift-train heads` again."
    try:
        arrays = _map_npz(Path(path))
    except FileNotFoundError:
        raise FaceLiftError(f"There is no shard of heads at {path}.") from None
    except (OSError, ValueError, zipfile.BadZipFile, KeyError) as error:
        raise FaceLiftError(problem) from error
    present = _ARRAYS | (_SAMPLED if "sampled" in arrays else {})
    for name, (dtype, dimensions) in present.items():
        if name not in arrays or arrays[name].dtype != dtype or arrays[name].ndim != dimensions:
            raise FaceLiftError(problem)
    if len({len(array) for array in arrays.values()}) != 1 or arrays["rgba"].shape[:4] != arrays["depth"].shape:
        raise FaceLiftError(problem)
    if "sampled" in arrays and arrays["sampled"].shape[1:] != (6, *arrays["rgba"].shape[2:4], 3):
        raise FaceLiftError(problem)
    return Shard(**{name: arrays[name] for name in present})


def _map_npz(path: Path) -> dict[str, np.ndarray]:
    """Memory-map the arrays of an uncompressed .npz (NumPy itself would read the whole file)."""
    arrays = {}
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        # One map, and so one open file, per shard, because open files are limited.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("compressed")
            # The array starts after the member's local header, whose name and extra field vary in length.
            file.seek(member.header_offset + 26)
            name_length, extra_length = np.frombuffer(file.read(4), "<u2")
            file.seek(member.header_offset + 30 + int(name_length) + int(extra_length))
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            shape, fortran, dtype = read_header(file)
            if dtype.hasobject:
                raise ValueError("objects")
            array = np.frombuffer(mapped, dtype, math.prod(shape), file.tell())
            arrays[member.filename.removesuffix(".npy")] = array.reshape(shape, order="F" if fortran else "C")
    return arrays


class HeadDataset:
    """All heads in a folder of shards, ordered by seed, or in a folder of folders as in :mod:`.folders`.

    ``dataset[i]`` is a :class:`Views` (memory-mapped for shards). Every head has ``views`` square images of
    ``size`` pixels.

    Raises:
        FaceLiftError: there are no heads, or they have different sizes.
    """

    def __init__(self, folder: Path | str):
        self._folder = folder
        self._folders = folder_paths(Path(folder))
        self._shards = [] if self._folders else [self._open(path) for path in shard_paths(Path(folder))]
        if self._folders:
            kinds = {(len(pictures), size) for pictures, _, _, size in map(read_cameras, self._folders)}
        else:
            kinds = {shard.rgba.shape[1:3] for shard in self._shards}
        if len(kinds) != 1:
            raise FaceLiftError(
                f"The heads in {folder} differ in image size or number of views; use a separate folder for each kind."
            )
        self.views, self.size = kinds.pop()
        self._starts = np.concatenate([[0], np.cumsum([len(shard.seeds) for shard in self._shards])])

    def _open(self, path: Path) -> Shard:
        return read_shard(path)

    def __reduce__(self):
        return HeadDataset, (self._folder,)  # another process maps the files again

    def __len__(self) -> int:
        return len(self._folders) or int(self._starts[-1])

    def __getitem__(self, index: int) -> Views:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if self._folders:
            return read_folder(self._folders[index])
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._shards[place].views(int(index - self._starts[place]))

    @property
    def seeds(self) -> np.ndarray:
        """(N,) seeds of the heads; only for shards."""
        return np.concatenate([np.asarray(shard.seeds) for shard in self._shards])


class GrowingHeads(HeadDataset):
    """Shards of a folder that may still be filling: rescans it every few seconds, so the length can grow.

    Does not rescan folders as in :mod:`.folders`.
    """

    def __init__(self, folder: Path | str):
        self._opened: dict[Path, Shard] = {}
        self._look(folder)

    def _look(self, folder: Path | str) -> None:
        super().__init__(folder)
        self._looked = time.monotonic()

    def _open(self, path: Path) -> Shard:
        if path not in self._opened:
            self._opened[path] = super()._open(path)
        return self._opened[path]

    def __reduce__(self):
        return GrowingHeads, (self._folder,)

    def __len__(self) -> int:
        if not self._folders and time.monotonic() - self._looked > LOOK_AGAIN:
            self._look(self._folder)
        return super().__len__()
