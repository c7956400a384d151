"""A person's hands, eyes and watch in Blender's window: the mouse, pictures of the screen, ticks of the interface."""

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import blf
import bpy
import gpu
import numpy as np
from mathutils import Matrix

OUT = Path(os.environ["TEST_OUT"])
HEIGHT = 900
TICK = 0.05
_ticks: list[tuple[float, float]] = []


def say(*words) -> None:
    print("::", *words, flush=True)


def view():
    """The area of the 3D view; looked up each time, for layouts change."""
    return next(area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "VIEW_3D")


def region(kind: str = "UI"):
    """The sidebar, or with WINDOW the view beside it."""
    return next(region for region in view().regions if region.type == kind)


def picture(name: str, sidebar_only: bool = True) -> None:
    """The screen, or the part of it that the panel takes."""
    target = OUT / f"{name}.png"
    subprocess.run(["import", "-window", "root", str(target)], check=True)
    if sidebar_only:
        side = region()
        crop = f"{side.width}x{side.height}+{side.x}+{HEIGHT - (side.y + side.height)}"
        subprocess.run(["convert", str(target), "-crop", crop, "+repage", "-colors", "128", str(target)], check=True)


def average_colors(name: str, block: int = 16) -> np.ndarray:
    """(rows, columns, 3) displayed colours of a picture of the screen, the means of its blocks; row 0 is on top."""
    image = bpy.data.images.load(str(OUT / f"{name}.png"))
    width, height = image.size
    pixels = np.array(image.pixels[:], np.float32).reshape(height, width, -1)[::-1, :, :3]
    bpy.data.images.remove(image)
    rows, columns = height // block, width // block
    return pixels[: rows * block, : columns * block].reshape(rows, block, columns, block, 3).mean(axis=(1, 3))


def blocks_of_view(block: int = 16) -> tuple[slice, slice]:
    """Rows and columns of :func:`average_colors` in the 3D view, beside what covers its edges."""
    where, side = region("WINDOW"), region()
    left, right = where.x + 100, side.x - 20
    top, bottom = HEIGHT - (where.y + where.height) + 80, HEIGHT - where.y - 20
    return slice(top // block + 1, bottom // block), slice(left // block + 1, right // block)


def _xdotool(*words) -> None:
    # Beside Blender, which has to notice each part of it, as it would of a hand's.
    subprocess.Popen(["xdotool", *map(str, words)])


def on_screen(x: float, y: float, kind: str = "UI") -> tuple[int, int]:
    """A place in a region, from its left and top in pixels, on the screen."""
    where = region(kind)
    return round(where.x + x), round(HEIGHT - (where.y + where.height) + y)


def click(x: float, y: float) -> None:
    """A real click at a place on the screen."""
    _xdotool("mousemove", x, y, "sleep", 1, "mousedown", 1, "sleep", 0.2, "mouseup", 1)


def drag(start: tuple[int, int], end: tuple[int, int], button: int = 1) -> None:
    """The mouse drawn from one place on the screen to another with a button held."""
    between = [tuple(round(a + (b - a) * part / 8) for a, b in zip(start, end, strict=True)) for part in range(1, 9)]
    moves = [word for x, y in between for word in ("mousemove", x, y, "sleep", 0.1)]
    _xdotool("mousemove", *start, "sleep", 1, "mousedown", button, "sleep", 0.3, *moves, "mouseup", button)


def words(text: str, kind: str = "UI", least: float = 0.7) -> tuple[int, int] | None:
    """Where on the screen a region shows `text` as Blender draws it, the lowest place of several; None if nowhere."""
    raw = subprocess.run(["import", "-window", "root", "-depth", "8", "gray:-"], check=True, capture_output=True).stdout
    screen = np.frombuffer(raw, np.uint8).reshape(HEIGHT, -1).astype(np.float32)
    where = region(kind)
    left, top = where.x, HEIGHT - (where.y + where.height)
    found = _likeness(screen[top : top + where.height, left : left + where.width], _drawn(text))
    rows = np.flatnonzero(found.max(axis=1) >= least)
    if len(rows) == 0:
        say(f"“{text}” is not to be seen: {found.max():.2f}")
        return None
    last = rows[rows > rows[-1] - 4]
    y = last[found[last].max(axis=1).argmax()]
    x = found[y].argmax()
    width, height = _drawn(text).shape[::-1]
    return left + int(x) + width // 2, top + int(y) + height // 2


def _drawn(text: str) -> np.ndarray:
    """(H, W) `text` in white on black, in the size of the interface."""
    preferences = bpy.context.preferences
    blf.size(0, preferences.ui_styles[0].widget.points * preferences.system.ui_scale)
    width, height = int(blf.dimensions(0, text)[0]) + 2, int(blf.dimensions(0, "X")[1]) + 8
    offscreen = gpu.types.GPUOffScreen(width, height)
    with offscreen.bind():
        framebuffer = gpu.state.active_framebuffer_get()
        framebuffer.clear(color=(0, 0, 0, 1))
        with gpu.matrix.push_pop(), gpu.matrix.push_pop_projection():
            scale = Matrix.Diagonal((2 / width, 2 / height, 1, 1))
            gpu.matrix.load_matrix(Matrix.Identity(4))
            gpu.matrix.load_projection_matrix(Matrix.Translation((-1, -1, 0)) @ scale)
            blf.position(0, 1, 4, 0)  # above what reaches below the line
            blf.color(0, 1, 1, 1, 1)
            blf.draw(0, text)
        pixels = framebuffer.read_color(0, 0, width, height, 4, 0, "UBYTE")
    pixels.dimensions = width * height * 4
    offscreen.free()
    return np.array(pixels, np.float32).reshape(height, width, 4)[::-1, :, 0]


def _likeness(picture: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Normalized cross-correlation of `part` at each place in `picture` where it fits."""
    shape = tuple(a - b + 1 for a, b in zip(picture.shape, part.shape, strict=True))
    part = part - part.mean()
    across = np.fft.irfft2(np.fft.rfft2(picture) * np.conj(np.fft.rfft2(part, picture.shape)), picture.shape)

    def sums(values: np.ndarray) -> np.ndarray:
        total = np.pad(values.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        high, wide = part.shape
        return total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]

    variance = sums(picture**2) - sums(picture) ** 2 / part.size
    return across[: shape[0], : shape[1]] / np.sqrt(np.maximum(variance, 100.0) * max((part**2).sum(), 1.0))


def stroke(*places: tuple[int, int]) -> None:
    """The mouse drawn over places on the screen with its button held."""
    moves = [word for x, y in places[1:] for word in ("mousemove", x, y, "sleep", 0.2)]
    _xdotool("mousemove", *places[0], "sleep", 1, "mousedown", 1, "sleep", 0.3, *moves, "mouseup", 1)


def press(key: str, x: float, y: float) -> None:
    """A key with the mouse over a place on the screen: Blender gives keys to what is under it."""
    _xdotool("mousemove", x, y, "sleep", 1, "key", key)


def drop(file: Path, x: float, y: float):
    """Drag a file from another program's window and drop it at a place on the screen; give it time between."""
    source = subprocess.Popen(["/usr/bin/python3", str(Path(__file__).with_name("drag_source.py")), str(file)])
    yield 3
    way = [word for part in (0.3, 0.6, 0.9, 1) for word in ("mousemove", 40 + part * (x - 40), 20 + part * (y - 20))]
    way = [word if isinstance(word, str) else round(word) for word in way]
    moves = [word for n in range(0, len(way), 3) for word in (*way[n : n + 3], "sleep", 0.5)]
    _xdotool("mousemove", 40, 20, "sleep", 0.5, "mousedown", 1, "sleep", 0.5, *moves, "sleep", 1, "mouseup", 1)
    yield 7
    source.terminate()
    source.wait()


def tick() -> float:
    """For a timer of Blender."""
    _ticks.append((time.perf_counter(), time.thread_time()))
    return TICK


def forget_ticks() -> None:
    _ticks.clear()


def ticks_so_far() -> int:
    return len(_ticks)


def ticks(first: int = 0) -> str:
    """Milliseconds between two ticks of the interface from the `first` since they were forgotten on, and of processor
    time therein."""
    gaps = sorted(1000 * (b[0] - a[0]) for a, b in pairwise(_ticks[first:]))
    work = sorted(1000 * (b[1] - a[1]) for a, b in pairwise(_ticks[first:]))
    if not gaps:
        return "none"

    def summary(values):
        return f"median {values[len(values) // 2]:.0f}, 95 % {values[int(0.95 * len(values))]:.0f}"

    over = sum(gap > 1.5 * TICK * 1000 for gap in gaps)
    times = f"{summary(gaps)} ms, processor {summary(work)} ms"
    return f"{times}, {over} of {len(gaps)} above 75 ms, longest {gaps[-1]:.0f}"


def wait_for(reached, problem: str, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, problem
        yield 0.2


def until_quiet(most: float, quiet: float = 6.0):
    """Until Blender has had nothing to do for `quiet` seconds, such as shaders to compile or samples to take.

    By whether its threads want to run, not by how much they could: others may use the processors, too.
    """
    end = time.monotonic() + most
    samples: list[bool] = []
    last = time.monotonic()
    while time.monotonic() < end:
        yield 0.1
        now = time.monotonic()
        if now - last > 1.0:  # the interface was busy itself
            samples.clear()
        last = now
        samples.append(_others_run())
        recent = samples[-int(quiet * 10) :]
        if len(recent) == int(quiet * 10) and sum(recent) < 0.15 * len(recent):
            return
    say(f"still busy after {most:.0f} s")


def _others_run() -> bool:
    """Whether a thread of this process beside the main one, or a process that it started, is running or ready to."""
    main = os.getpid()
    tasks = [Path(f"/proc/{main}/task/{name}") for name in os.listdir(f"/proc/{main}/task") if int(name) != main]
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    for task in [*tasks, *(Path(f"/proc/{child}") for child in children)]:
        try:
            if (task / "stat").read_text().rsplit(")", 1)[1].split()[0] == "R":
                return True
        except OSError:
            continue
    return False


def run(script) -> None:
    """Have a timer do the steps of the generator `script`, which gives the seconds until the next; then quit."""

    def drive() -> float | None:
        try:
            return next(script)
        except StopIteration:
            pass
        except Exception:
            import traceback

            traceback.print_exc()
            subprocess.run(["import", "-window", "root", str(OUT / "failed.png")], check=False)
            sys.stderr.flush()
        bpy.ops.wm.quit_blender()
        return None

    bpy.app.timers.register(tick, persistent=True)
    bpy.app.timers.register(drive, first_interval=4.0, persistent=True)
