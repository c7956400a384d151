"""``facelift-train heads``: generates synthetic heads in a folder; continues where an earlier run stopped."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.pool import AsyncResult
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ...compute.native import load
from ...errors import FaceLiftError
from ...images import write_contact_sheet
from .anatomy import load_anatomy
from .dataset import SHARD_SIZE, generate, read_shard, shard_path, write_shard
from .folders import write_folder
from .render import on_white

SHEET_HEADS, SHEET_SIZE = 64, 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder to write to")
    parser.add_argument("--count", type=int, default=1024, help="number of heads (default %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first head (default %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="image width and height in pixels (default %(default)s)")
    parser.add_argument(
        "--random-views", type=int, default=4, metavar="N", help="views besides the standard six (default %(default)s)"
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="processes (default %(default)s)")
    parser.add_argument(
        "--layout",
        choices=("shards", "folders"),
        default="shards",
        help=f"shards of {SHARD_SIZE} heads for training, or one folder of PNG files per head (default %(default)s)",
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help=f"also draw a contact sheet of the first {SHEET_HEADS} heads"
    )


def run(args: argparse.Namespace) -> int:
    """Generate the heads that do not exist yet.

    Raises:
        FaceLiftError: an option is out of range, the folder cannot be written, or anny or a compiler is missing.
    """
    for name, least in (("count", 1), ("first_seed", 0), ("size", 16), ("random_views", 0), ("processes", 1)):
        if getattr(args, name) < least:
            raise FaceLiftError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(args, name)}.")
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FaceLiftError(f"Cannot create the folder {args.output}: {error.strerror}.") from error
    load("zbuffer")  # once here, so that the processes do not each compile or extract
    load_anatomy()

    seeds = range(args.first_seed, args.first_seed + args.count)
    if args.layout == "shards":
        jobs = [seeds[start : start + SHARD_SIZE] for start in range(0, len(seeds), SHARD_SIZE)]
        write: Callable = partial(_shard_job, args.output, args.size, args.random_views)
        missing = [job for job in jobs if not _is_finished(args, job)]
    else:
        jobs = [range(seed, seed + 1) for seed in seeds]
        write = partial(_folder_job, args.output, args.size, args.random_views)
        missing = [job for job in jobs if not folder_path(args.output, job[0]).exists()]
    done = args.count - sum(map(len, missing))
    with tqdm(total=args.count, initial=done, unit="head", mininterval=1 if sys.stderr.isatty() else 30) as bar:
        for finished in _work(write, missing, args.processes):
            bar.update(finished)
    if args.sheet:
        fronts = [on_white(generate(seed, SHEET_SIZE, 0).rgba[0]) for seed in seeds[:SHEET_HEADS]]
        args.sheet.parent.mkdir(parents=True, exist_ok=True)
        write_contact_sheet(fronts, args.sheet, columns=8)
    return 0


def _work(write: Callable, jobs: list[range], processes: int):
    if processes == 1:
        yield from map(write, jobs)
        return
    # One thread per process. Spawns fresh interpreters, because forking after threads have started can hang.
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(write, jobs)


@contextmanager
def in_background(
    folder: Path, seeds: range, size: int, random_views: int, shard: int, processes: int
) -> Iterator[AsyncResult]:
    """Context manager: while active, separate processes fill `folder` with shards of `shard` heads each.

    Raises:
        FaceLiftError: anny or a compiler is missing.
    """
    load("zbuffer")
    load_anatomy()
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [seeds[start : start + shard] for start in range(0, len(seeds), shard)]
    missing = [job for job in jobs if not shard_path(folder, job[0]).exists()]
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield pool.map_async(partial(_shard_job, folder, size, random_views), missing, chunksize=1)


def _is_finished(args: argparse.Namespace, seeds: range) -> bool:
    path = shard_path(args.output, seeds[0])
    if not path.exists():
        return False
    found = read_shard(path)
    if found.rgba.shape[1:3] != (6 + args.random_views, args.size):
        raise FaceLiftError(
            f"{path} contains {found.rgba.shape[1]} views of {found.rgba.shape[2]} pixels; choose another folder."
        )
    return np.array_equal(found.seeds, seeds)


def folder_path(folder: Path, seed: int) -> Path:
    return folder / f"{seed:08d}"


def _shard_job(folder: Path, size: int, random_views: int, seeds: range) -> int:
    write_shard(folder, seeds, size, random_views)
    return len(seeds)


def _folder_job(folder: Path, size: int, random_views: int, seeds: range) -> int:
    write_folder(folder_path(folder, seeds[0]), generate(seeds[0], size, random_views))
    return len(seeds)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="facelift-train heads", description=__doc__)
    add_arguments(parser)
    try:
        return run(parser.parse_args(arguments))
    except FaceLiftError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
