"""Runs inside Blender's window: an artist's way through the panel *Pose*, by the mouse, with pictures on the way.

TEST_HEAD is a head of a person, TEST_CSV a face capture, TEST_VIDEO a video of a face; TEST_PARTS names the parts.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))

from hands import (
    click,
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
HEADERS = 406, 97, 153
"""Heights of the headers of Splats and Reconstruct Face, which take the place, and of Pose then."""


def module(name: str):
    return import_module(f"{PACKAGE}.{name}")


def head() -> bpy.types.Object:
    return next(item for item in bpy.data.objects if item.type == "POINTCLOUD")


def face() -> bpy.types.Object | None:
    return module("animation.names").face_of(head())


def keys():
    return face().data.shape_keys.key_blocks


def job(kind: str):
    return module("jobs.timer").jobs.latest(kind)


def settled(seconds: float = 2.0):
    view().tag_redraw()
    region().tag_redraw()
    yield seconds


def press_button(text: str, reached, seconds: float = 30.0):
    place = words(text)
    assert place is not None, f"no button “{text}” to be seen"
    click(*place)
    yield from wait_for(reached, f"“{text}” did nothing", seconds)
    yield 1


def prepare():
    result = bpy.ops.extensions.package_install_files(
        filepath=os.environ["TEST_ZIP"], repo="user_default", enable_on_install=True, overwrite=True
    )
    assert result == {"FINISHED"}
    yield 2
    view().spaces.active.show_region_ui = True
    yield 2
    region().active_panel_category = "FaceLift"
    yield 2
    assert bpy.ops.facelift.import_splats(filepath=os.environ["TEST_HEAD"]) == {"FINISHED"}
    bpy.data.objects.remove(bpy.data.objects["Cube"])
    with bpy.context.temp_override(area=view(), region=region("WINDOW")):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_selected()
    yield 2
    picture("pose_0_imported", sidebar_only=False)
    for height in HEADERS:
        click(region().x + 100, height)
        yield 4
    yield from wait_for(lambda: words("Rig Face") is not None, "the panel Pose did not open")
    picture("pose_1_panel", sidebar_only=False)


def rig():
    yield from press_button("Rig Face", lambda: job("rig") is not None)
    yield from wait_for(lambda: job("rig").fraction > 0.2, "no progress", 120)
    picture("pose_2_rigging", sidebar_only=False)
    yield from wait_for(lambda: job("rig").over, "not rigged", 240)
    assert job("rig").state == "done", job("rig").error
    yield from wait_for(lambda: face() is not None, "no face", 30)
    yield from settled(4)
    picture("pose_3_rigged", sidebar_only=False)


def presets():
    side = region()
    where = words("As in the Photo")
    say("dropdown", where, "sidebar", side.x, side.width)
    # The picture is left of the name.
    click(side.x + 60, where[1] + 40)
    yield 4
    picture("pose_4_pictures", sidebar_only=False)
    press("Escape", *on_screen(300, 300, "WINDOW"))
    yield 2
    click(*where)
    yield 3
    picture("pose_5_names", sidebar_only=False)
    press("Escape", *on_screen(300, 300, "WINDOW"))
    yield 2


PARTS = {part.__name__: part for part in (rig, presets)}


def steps():
    yield from prepare()
    for name in os.environ.get("TEST_PARTS", " ".join(PARTS)).split():
        yield from PARTS[name]()
    say("ALL GOOD")


bpy.context.preferences.view.show_splash = False
run(steps())
