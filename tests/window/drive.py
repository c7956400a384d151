"""Runs inside Blender's window: a person's way through the panel, by the mouse, with pictures on the way.

A generator does one step after the other and gives the seconds until the next, so that Blender lives between them.
"""

import os
import subprocess
import sys
import time
import traceback
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import bpy

PACKAGE = "bl_ext.user_default.facelift"
OUT = Path(os.environ["TEST_OUT"])
ticks: list[float] = []


def say(*words) -> None:
    print("::", *words, flush=True)


def picture(name: str, sidebar_only: bool = True) -> None:
    """The screen, or the part of it that the panel takes."""
    target = OUT / f"{name}.png"
    subprocess.run(["import", "-window", "root", str(target)], check=True)
    if sidebar_only:
        _, region = sidebar()
        top = 900 - (region.y + region.height)
        crop = f"{region.width}x{region.height}+{region.x}+{top}"
        subprocess.run(["convert", str(target), "-crop", crop, "+repage", "-colors", "128", str(target)], check=True)


def view():
    """The area of the 3D view; looked up each time, for layouts change."""
    return next(area for area in bpy.context.window_manager.windows[0].screen.areas if area.type == "VIEW_3D")


def sidebar():
    area = view()
    return area, next(region for region in area.regions if region.type == "UI")


def click(x: float, y: float) -> None:
    """A real click at a place in the sidebar, from its left and top in pixels."""
    _, region = sidebar()
    place = [str(round(region.x + x)), str(round(900 - (region.y + region.height) + y))]
    # Beside Blender, which has to notice each part of it, as it would of a hand's.
    subprocess.Popen(["xdotool", "mousemove", *place, "sleep", "1", "mousedown", "1", "sleep", "0.2", "mouseup", "1"])


def tick() -> float:
    ticks.append(time.perf_counter())
    return 0.05


def interval() -> str:
    """Milliseconds between two ticks of the interface since the last call: median, 95th percentile, how many."""
    gaps = sorted(1000 * (b - a) for a, b in pairwise(ticks))
    ticks.clear()
    return f"{gaps[len(gaps) // 2]:.0f} ms, 95 % {gaps[int(0.95 * len(gaps))]:.0f} ms ({len(gaps)})" if gaps else "none"


def session():
    return import_module(f"{PACKAGE}.reconstruct.session").session


def shading(kind: str) -> None:
    view().spaces.active.shading.type = kind


def steps():
    result = bpy.ops.extensions.package_install_files(
        filepath=os.environ["TEST_ZIP"], repo="user_default", enable_on_install=True, overwrite=True
    )
    assert result == {"FINISHED"}
    bpy.data.objects.remove(bpy.data.objects["Cube"])  # two metres wide, the head would stand inside it
    yield 2
    area, _ = sidebar()
    area.spaces.active.show_region_ui = True
    yield 2
    _, region = sidebar()
    region.active_panel_category = "FaceLift"
    yield 2
    picture("panel_empty")
    settings = bpy.context.scene.facelift
    settings.photo = os.environ["TEST_PHOTO"]
    settings.weights = os.environ["TEST_WEIGHTS"]
    settings.steps = int(os.environ.get("TEST_STEPS", "600"))
    area.tag_redraw()
    yield 6
    picture("panel_idle")
    picture("window_idle", sidebar_only=False)
    interval()
    yield 8
    idle = interval()
    yield from press_big_button()
    yield from until(lambda job: job.stage == "load")
    yield 2
    picture("panel_loading")
    yield from until(lambda job: job.stage == "views" and job.fraction > 0.08)
    interval()
    yield 8
    busy = interval()
    say(f"ticks: idle {idle}; while a job runs {busy}")
    picture("panel_running")
    picture("window_running", sidebar_only=False)
    yield from press_cancel()
    yield from until(lambda job: job.over)
    yield 2
    job = session().runner.jobs[-1]
    assert job.state == "cancelled", (job.state, job.error)
    picture("panel_cancelled")
    settings.steps = 3
    yield from press_big_button()
    yield from until(lambda job: job.views is not None)
    yield 0.3
    picture("panel_views")
    yield from until(lambda job: job.over)
    yield 3
    job = session().runner.jobs[-1]
    assert job.state == "done", (job.state, job.error)
    assert session().arrived == [] and bpy.context.view_layer.objects.active.type == "POINTCLOUD"
    picture("panel_finished")
    with bpy.context.temp_override(area=view(), region=view().regions[-1]):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_selected()
    # EEVEE's first compilation of shaders takes minutes without a graphics card.
    for kind in os.environ.get("TEST_SHADINGS", "SOLID MATERIAL RENDERED").split():
        shading(kind)
        yield 12 if kind == "SOLID" else 150
        picture(f"window_{kind.lower()}", sidebar_only=False)
    shading("SOLID")
    yield 2
    settings.photo = "/nowhere/photo.jpg"
    settings.weights = "/nowhere"
    view().tag_redraw()
    yield 2
    picture("panel_missing")
    say("ALL GOOD")


def until(reached, seconds: float = 400.0):
    """Wait for the newest job."""
    end = time.monotonic() + seconds
    while not reached(session().runner.jobs[-1]):
        job = session().runner.jobs[-1]
        assert time.monotonic() < end and (not job.over or reached(job)), (job.state, job.stage, job.error)
        yield 0.1


def wait_for(reached, problem: str, seconds: float = 30.0):
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, problem
        yield 0.2


def press_big_button():
    before = len(session().runner.jobs)
    x, y = os.environ.get("TEST_BUTTON", "144,323").split(",")
    click(float(x), float(y))
    yield from wait_for(lambda: len(session().runner.jobs) == before + 1, "the click did not start a job")


def press_cancel():
    x, y = os.environ.get("TEST_CANCEL", "201,363").split(",")
    click(float(x), float(y))
    yield from wait_for(session().runner.jobs[-1].cancel.is_set, "the click did not cancel")


script = steps()


def drive() -> float | None:
    try:
        return next(script)
    except StopIteration:
        pass
    except Exception:
        traceback.print_exc()
        subprocess.run(["import", "-window", "root", str(OUT / "failed.png")], check=False)
        sys.stderr.flush()
    bpy.ops.wm.quit_blender()
    return None


bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(tick, persistent=True)
bpy.app.timers.register(drive, first_interval=4.0, persistent=True)
