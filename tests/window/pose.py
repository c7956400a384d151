"""Runs inside Blender's window: an artist's way through the panel *Pose*, by the mouse, with pictures on the way.

TEST_HEAD is a head of a person, TEST_CSV a face capture, TEST_VIDEO a video of a face; TEST_PARTS names the parts. With
TEST_BLEND, a file with a head that has a face, leave out the part `rig`.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))

from hands import (
    OUT,
    click,
    drag,
    drop,
    forget_ticks,
    on_screen,
    picture,
    press,
    region,
    run,
    say,
    ticks,
    until_quiet,
    view,
    wait_for,
    words,
)

PACKAGE = "bl_ext.user_default.facelift"
HEADERS = 406, 97, 153
"""Heights of the headers of Splats and Reconstruct Face, which take the place, and of Pose then."""

BUTTONS = {"Reset": (180, 230), "Key All": (180, 250), "Blink": (80, 294), "Look At": (200, 294)}
"""Where they are, from the sidebar's left and the screen's top; their words are too short to be found for sure."""
MOUTH, PUCKER = 503, 764
"""Heights of the header of the mouth's sliders, and of one of them."""


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


def press_button(text: str, reached, attempts: int = 4):
    """Click at a button until it has done what it should; a busy Blender misses clicks."""
    for _ in range(attempts):
        if text in BUTTONS:
            place = region().x + BUTTONS[text][0], BUTTONS[text][1]
        else:
            place = words(text)
            assert place is not None, f"no button “{text}” to be seen"
        click(*place)
        end = time.monotonic() + 12
        while time.monotonic() < end:
            yield 0.2
            if reached():
                yield 1
                return
    raise AssertionError(f"“{text}” did nothing")


def unfold(height: int, text: str):
    """Click at the header of a panel until `text` in it is to be seen."""
    for _ in range(4):
        click(region().x + 100, height)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            yield 1
            if words(text) is not None:
                yield 4  # until it has unfolded
                return
    raise AssertionError(f"“{text}” is not to be seen")


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
    if file := os.environ.get("TEST_BLEND"):  # whose head has a face
        bpy.ops.wm.open_mainfile(filepath=file, load_ui=False)
        yield 1
    else:
        assert bpy.ops.facelift.import_splats(filepath=os.environ["TEST_HEAD"]) == {"FINISHED"}
        bpy.data.objects.remove(bpy.data.objects["Cube"])
    with bpy.context.temp_override(area=view(), region=region("WINDOW")):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_selected()
    yield 2
    picture("pose_0_imported", sidebar_only=False)
    for height in HEADERS[:-1]:
        click(region().x + 100, height)
        yield 4
    yield from unfold(HEADERS[-1], "Rig Face Again" if "TEST_BLEND" in os.environ else "Rig Face")
    yield from until_quiet(60)
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


def strengths() -> dict[str, float]:
    return {key.name: round(key.value, 3) for key in keys() if key.value}


def curves() -> list:
    return list(module("animation.takes").curves_of(face().data.shape_keys))


def action_name() -> str:
    data = face().data.shape_keys.animation_data
    return data.action.name if data is not None and data.action is not None else ""


def menu(place: tuple[int, int], name: str, seconds: float = 8.0):
    """Click at a place, where a menu opens, and take a picture of it."""
    click(*place)
    yield seconds
    picture(name, sidebar_only=False)


def presets():
    forget_ticks()
    yield 8
    say("ticks, idle:", ticks())
    where = words("As in the Photo")
    the_picture = region().x + 60, where[1] + 40
    yield from menu(the_picture, "pose_4_pictures")
    press("Escape", *on_screen(300, 300, "WINDOW"))
    yield 3
    yield from menu(where, "pose_5_names")
    press("s", *where)
    yield 4
    say("after S in the list of names:", strengths())
    picture("pose_6_chosen", sidebar_only=False)


def sliders():
    yield from unfold(MOUTH, "Mouth Pucker")
    forget_ticks()
    drag((region().x + 80, PUCKER), (region().x + 200, PUCKER))
    yield from wait_for(lambda: keys()["mouthPucker"].value > 0.2, "the slider did not move")
    yield 3
    say("pucker", strengths(), ticks())
    picture("pose_7_slider", sidebar_only=False)
    click(region().x + 100, MOUTH)
    yield 6


def keyframes():
    scene = bpy.context.scene
    action = lambda: face().data.shape_keys.animation_data is not None  # noqa: E731
    yield from press_button("Key All", action)
    scene.frame_set(20)
    yield from press_button("Reset", lambda: not strengths())
    yield from press_button("Key All", action)
    picture("pose_8_keys", sidebar_only=False)
    forget_ticks()
    start = time.monotonic()
    for frame in range(1, 21):
        scene.frame_set(frame)
        view().tag_redraw()
        yield 0.01
    say(f"20 frames scrubbed in {time.monotonic() - start:.1f} s;", ticks())
    yield 1
    where = region("WINDOW")
    forget_ticks()
    drag(on_screen(300, 400, "WINDOW"), on_screen(450, 420, "WINDOW"), button=2)
    yield 8
    say("orbited:", ticks(), where.width, where.height)
    picture("pose_9_orbited", sidebar_only=False)
    with bpy.context.temp_override(area=view(), region=region("WINDOW")):
        bpy.ops.view3d.view_axis(type="FRONT")
    scene.frame_set(1)


def gaze():
    looked = lambda: module("animation.gaze").target_of(head())  # noqa: E731
    scene = bpy.context.scene
    scene.frame_set(20)
    yield from press_button("Look At", lambda: looked() is not None)
    middle = looked().location.copy()
    for name, (x, z) in {"left": (9, 0), "right": (-9, 0), "up": (0, 9), "down": (0, -9)}.items():
        looked().location = middle.x + x, middle.y, middle.z + z
        yield 3
        picture(f"pose_10_look_{name}", sidebar_only=False)
    yield from press_button("Look At", lambda: looked() is None)
    blinks = lambda: max((len(c.keyframe_points) for c in curves() if "eyeBlinkLeft" in c.data_path), default=0)  # noqa: E731
    yield from press_button("Blink", lambda: blinks() > 2)
    scene.frame_set(23)
    yield 3
    picture("pose_11_blink", sidebar_only=False)


def capture():
    scene = bpy.context.scene
    scene.frame_set(1)
    place = on_screen(300, 400, "WINDOW")
    yield from until_quiet(30)
    yield from drop(Path(os.environ["TEST_CSV"]), *place)
    yield 4
    picture("pose_12_dropped", sidebar_only=False)
    say("after the drop:", action_name())
    if action_name() != "take":  # the drop is answered by a menu, or has been missed
        press("f", *place)
        yield 6
        say("after F:", action_name())
    if action_name() != "take":
        with bpy.context.temp_override(area=view(), region=region("WINDOW")):
            bpy.ops.facelift.import_face_capture("INVOKE_DEFAULT", True, filepath=os.environ["TEST_CSV"])
    yield 4
    picture("pose_13_capture", sidebar_only=False)
    assert action_name() == "take" and len(curves()) > 5, (action_name(), curves())
    press("ctrl+z", *place)
    yield 8
    say("after undo:", action_name(), strengths())


def video():
    scene = bpy.context.scene
    scene.frame_set(1)
    path = os.environ["TEST_VIDEO"]
    before = action_name()
    with bpy.context.temp_override(area=view(), region=region("WINDOW")):
        assert bpy.ops.facelift.animate_from_video(filepath=path) == {"FINISHED"}
    first = job("track")
    yield from wait_for(lambda: first.fraction > 0.1 or first.over, "no progress", 200)
    yield 1
    picture("pose_14_video", sidebar_only=False)
    yield from press_button("Cancel", first.cancel.is_set)
    yield from wait_for(lambda: first.over, "not cancelled", 60)
    yield 2
    picture("pose_15_cancelled", sidebar_only=False)
    assert action_name() == before and first.state == "cancelled", first.state
    for name in ("pose.py", "nobody"):
        bad = Path(__file__) if name == "pose.py" else OUT / "nobody.mp4"
        with bpy.context.temp_override(area=view(), region=region("WINDOW")):
            bpy.ops.facelift.animate_from_video(filepath=str(bad))
        yield from wait_for(lambda: job("track").over, "not refused", 100)
        yield 2
        say(name, job("track").state, job("track").error)
        picture(f"pose_16_{Path(name).stem}", sidebar_only=False)
    with bpy.context.temp_override(area=view(), region=region("WINDOW")):
        assert bpy.ops.facelift.animate_from_video(filepath=path) == {"FINISHED"}
    yield from wait_for(lambda: job("track").over, "no end", 400)
    yield 4
    say(job("track").state, job("track").error, action_name(), len(curves()), "curves")
    picture("pose_17_from_video", sidebar_only=False)
    for frame in (20, 45, 80):
        scene.frame_set(frame)
        yield 2
        picture(f"pose_18_frame_{frame}", sidebar_only=False)
    press("ctrl+z", *on_screen(300, 400, "WINDOW"))
    yield 6
    say("after undo:", action_name())
    press("ctrl+shift+z", *on_screen(300, 400, "WINDOW"))
    yield 6
    say("after redo:", action_name())


def saved():
    path = OUT / "posed.blend"
    before = strengths()
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.open_mainfile(filepath=str(path))
    yield 6
    assert strengths() == before, (strengths(), before)
    picture("pose_19_reopened", sidebar_only=False)


def others():
    """The panels Mesh, Light and Body, below the folded Pose."""
    pose = HEADERS[-1]
    for height in (pose, pose + 84, pose + 56, pose + 28):
        click(region().x + 100, height)
        yield 5
    picture("pose_20_others", sidebar_only=False)


PARTS = {part.__name__: part for part in (rig, presets, sliders, keyframes, gaze, capture, video, saved, others)}


def steps():
    yield from prepare()
    for name in os.environ.get("TEST_PARTS", " ".join(PARTS)).split():
        yield from PARTS[name]()
    say("ALL GOOD")


bpy.context.preferences.view.show_splash = False
run(steps())
