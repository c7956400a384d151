"""Runs inside Blender's window, from factory settings: the first five minutes of somebody who has only the zip.

Install the zip, then PyTorch; a photo, its cut-out, a head; look around, render with both engines; a second head,
*Apply Scale*, undo, save, open again. By mouse and keys, as far as Blender's windows can be reached without a window
manager; a picture after each step, named after it. TEST_QUICK makes heads with few steps and small renders;
TEST_INSTALL really installs PyTorch; TEST_LAST names the last step to do.
"""

import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from hands import (
    OUT,
    average_colors,
    blocks_of_view,
    click,
    drag,
    on_screen,
    picture,
    press,
    region,
    run,
    say,
    view,
    wait_for,
    words,
)

PACKAGE = "bl_ext.user_default.facelift"
HOME = Path(os.environ["HOME"])
INSTALL_SECONDS = 600
QUICK = bool(os.environ.get("TEST_QUICK"))
SIZE, SAMPLES = (200, 1) if QUICK else (480, 4)
"""Of the renders."""
F12 = "96"
"""As a key code: by its name, xdotool presses Alt, too."""


def module(name: str):
    return import_module(f"{PACKAGE}.{name}")


def jobs():
    return module("jobs.timer").jobs


def heads() -> list:
    return sorted((ob for ob in bpy.data.objects if ob.type == "POINTCLOUD"), key=lambda ob: ob.name)


def middle() -> tuple[int, int]:
    return on_screen(region("WINDOW").width * 0.4, region("WINDOW").height * 0.5, "WINDOW")


def shot(name: str):
    """A picture, with the mouse where it shows no tip, and with all of a second window on the screen."""
    if len(bpy.context.window_manager.windows) > 1:
        found = subprocess.run(["xdotool", "search", "--onlyvisible", "--name", "."], capture_output=True, text=True)
        newest = max(map(int, found.stdout.split()))
        subprocess.run(["xdotool", "windowmove", str(newest), "160", "90"], check=False)
    else:
        subprocess.run(["xdotool", "mousemove", "700", "860"], check=False)
    yield 2
    picture(name, sidebar_only=False)


def press_button(text: str, reached, seconds: float = 30.0):
    """Click the button of the sidebar with this text, until it has done what it should."""
    place = words(text)
    assert place is not None, f"no button “{text}” to be seen"
    click(*place)
    yield from wait_for(reached, f"“{text}” did nothing", seconds)


def install_zip():
    bpy.context.preferences.active_section = "EXTENSIONS"
    bpy.ops.screen.userpref_show()
    yield 3
    window = bpy.context.window_manager.windows[-1]
    area = window.screen.areas[0]
    yield from shot("1_preferences")
    subprocess.run(["xdotool", "mousemove", "800", "130"], check=True)
    yield 1
    with bpy.context.temp_override(window=window, area=area):
        bpy.ops.wm.call_menu(name="USERPREF_MT_extensions_settings")
    yield 2
    subprocess.run(["xdotool", "mousemove", "740", "242"], check=True)
    yield 0.5  # before a tip appears
    picture("1_install_from_disk", sidebar_only=False)
    subprocess.Popen(["xdotool", "key", "Escape"])
    yield 1
    with bpy.context.temp_override(window=window, area=area):
        done = bpy.ops.extensions.package_install_files(
            filepath=os.environ["TEST_ZIP"], repo="user_default", enable_on_install=True, overwrite=True
        )
    assert done == {"FINISHED"}
    yield 2
    yield from shot("1_installed")
    with bpy.context.temp_override(window=window):
        bpy.ops.wm.window_close()
    yield 1
    press("n", *middle())
    yield 2
    yield from wait_for(show_tab, "no sidebar")
    yield 3
    assert not bpy.app.online_access, "factory settings are offline"
    yield from shot("2_offline")


def show_tab() -> bool:
    """Choose our tab, once the sidebar has been drawn."""
    try:
        region().active_panel_category = "FaceLift"
    except (AttributeError, TypeError):
        return False
    return True


def install_runtime():
    yield from press_button("Allow Online", lambda: bpy.app.online_access)
    yield 2
    yield from shot("2_online")
    place = words("Install PyTorch")
    click(*place)
    yield 4
    yield from shot("2_install_pytorch")
    if not os.environ.get("TEST_INSTALL"):
        press("Escape", *middle())
        yield 1
        module("setup.preferences").get().runtime_python = os.environ["TEST_PYTHON"]
        yield 5
        return
    press("Return", *middle())
    yield from wait_for(lambda: jobs().active("runtime"), "the dialog started nothing")
    yield 15
    yield from shot("2_installing")
    yield from wait_for(lambda: jobs().latest("runtime").over, "the installation does not end", INSTALL_SECONDS)
    assert jobs().latest("runtime").state == "done", jobs().latest("runtime").error
    yield 6
    yield from shot("2_installed")


def choose_photo():
    shutil.copyfile(os.environ["TEST_PHOTO"], HOME / "portrait.jpg")
    yield from press_button("Choose Photo", browsers)
    yield 4
    yield from shot("3_choose_photo")
    manager, area = browsers()[0]
    assert area.spaces.active.params.display_type == "THUMBNAIL", area.spaces.active.params.display_type
    with bpy.context.temp_override(window=manager, area=area):
        area.spaces.active.params.directory = str(HOME).encode()
    yield 2
    yield from shot("3_thumbnails")
    with bpy.context.temp_override(window=manager, area=area):
        bpy.ops.file.cancel()
    yield 1
    assert bpy.ops.facelift.choose_photos(directory=str(HOME), files=[{"name": "portrait.jpg"}]) == {"FINISHED"}
    view().tag_redraw()
    session = module("reconstruct.session")
    known = lambda: session.session.cutouts.known(session.subject_of_scene(bpy.context))  # noqa: E731
    yield from wait_for(lambda: known() is not None, "the photo was not cut out by itself", 120)
    yield 2
    yield from shot("3_photo")


def browsers() -> list:
    windows = bpy.context.window_manager.windows
    return [(window, area) for window in windows for area in window.screen.areas if area.type == "FILE_BROWSER"]


def head():
    if QUICK:
        bpy.context.scene.facelift.preset = "FAST"
    yield from make_head("4")


def make_head(step: str):
    count, before = len(heads()), jobs().latest("reconstruct")
    yield from press_button("Reconstruct Face", lambda: jobs().latest("reconstruct") not in (None, before))
    job = jobs().latest("reconstruct")
    yield from wait_for(lambda: job.state == "running", "the job does not start")
    yield 3
    yield from shot(f"{step}_loading")
    assert job.progress() > 0, "the bar moves while models load"
    yield from wait_for(lambda: job.stage == "views" and job.fraction > 0.3, "no views", 300)
    told, now = job.seconds_left(), time.monotonic()
    yield from shot(f"{step}_running")
    yield from wait_for(lambda: job.over and len(heads()) > count, "no head", 300)
    assert job.state == "done", job.error
    say(f"told {told and round(told)} s left, took {job.ended - now:.0f} s")
    yield 6
    yield from shot(f"{step}_head")


def look_around():
    x, y = middle()
    drag((x, y), (x + 90, y + 10), button=2)
    yield 5
    yield from shot("5_orbit")
    bpy.context.scene.render.resolution_x = bpy.context.scene.render.resolution_y = SIZE
    press("ctrl+alt+KP_0", *middle())
    yield 4
    yield from shot("5_camera")
    assert view().spaces.active.region_3d.view_perspective == "CAMERA"


def render_cycles():
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = SAMPLES, False  # which not every build can
    yield 2
    settings = module("splats.scene_settings")
    yield from press_button("Set Up Scene", lambda: not settings.missing_settings(bpy.context.scene))
    yield 2
    yield from render("6_cycles")


def render_eevee():
    engines = bpy.context.scene.render.bl_rna.properties["engine"].enum_items.keys()
    bpy.context.scene.render.engine = "BLENDER_EEVEE" if "BLENDER_EEVEE" in engines else "BLENDER_EEVEE_NEXT"
    bpy.context.scene.eevee.taa_render_samples = 2
    yield from render("6_eevee")


def render(name: str):
    began, ended = time.monotonic(), []
    bpy.app.handlers.render_complete.append(lambda *_: ended.append(time.monotonic()))
    press(F12, *middle())
    yield from wait_for(lambda: ended, "the render does not end", 600)
    say(f"{name}: {ended[0] - began:.0f} s")
    bpy.app.handlers.render_complete.clear()
    yield 3
    yield from shot(name)
    bpy.data.images["Render Result"].save_render(str(OUT / f"{name}_render.png"))
    for window in list(bpy.context.window_manager.windows)[1:]:
        with bpy.context.temp_override(window=window):
            bpy.ops.wm.window_close()
    yield 2


def second_head():
    bpy.context.scene.facelift.seed = 5
    bpy.context.scene.facelift.preset = "FAST"
    view().tag_redraw()
    yield 2
    yield from make_head("7")
    first, second = heads()[:2]
    apart = np.linalg.norm(np.array(first.matrix_world.translation) - np.array(second.matrix_world.translation))
    say(f"the heads are {apart:.3f} apart")
    assert apart > 0.2, "one stands in the other"


def apply_scale():
    bpy.context.object.scale = (1.2, 1.2, 1.2)
    bpy.ops.ed.undo_push(message="Scale")
    yield 3
    yield from shot("8_before")
    press("ctrl+a", *middle())
    yield 2
    yield from shot("8_menu")
    subprocess.Popen(["xdotool", "key", "s"])
    yield 6
    yield from shot("8_scale_applied")
    assert tuple(bpy.context.object.scale) == (1.0, 1.0, 1.0)
    same_view("8_before", "8_scale_applied")
    press("ctrl+z", *middle())
    yield 6
    yield from shot("8_undone")
    same_view("8_before", "8_undone")


def same_view(before: str, after: str) -> None:
    """The view of two pictures looks the same, block by block."""
    off = np.abs(average_colors(before)[blocks_of_view()] - average_colors(after)[blocks_of_view()]).max(axis=2)
    say(f"{after}: off by {off.mean():.4f}, at most {off.max():.3f}")
    assert off.mean() < 0.004 and np.quantile(off, 0.99) < 0.08, f"{after} does not look like {before}"


def save_and_open():
    file = HOME / "heads.blend"
    count = len(heads())
    press("ctrl+s", *middle())
    yield 4
    yield from shot("9_save")
    for window, area in browsers():
        with bpy.context.temp_override(window=window, area=area):
            area.spaces.active.params.directory = str(HOME).encode()
            area.spaces.active.params.filename = file.name
            bpy.ops.file.execute()
    yield 3
    assert file.is_file(), "not saved"
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.wm.open_mainfile(filepath=str(file))
    yield 8
    yield from shot("9_opened_again")
    assert len(heads()) == count
    same_view("8_before", "9_opened_again")


STEPS = (
    install_zip, install_runtime, choose_photo, head, look_around, render_cycles, render_eevee, second_head,
    apply_scale, save_and_open,
)  # fmt: skip


def steps():
    for step in STEPS:
        say(step.__name__)
        yield from step()
        if step.__name__ == os.environ.get("TEST_LAST"):
            break
    say("ALL GOOD")


bpy.context.preferences.view.show_splash = False
run(steps())
