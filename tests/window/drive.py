"""Runs inside Blender's window: a person's way through the panel, by the mouse, with pictures on the way.

A generator does one step after the other and gives the seconds until the next, so that Blender lives between them.
TEST_PARTS names the parts to do; all of them by default.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from hands import (
    HEIGHT,
    average_colors,
    blocks_of_view,
    click,
    drop,
    forget_ticks,
    on_screen,
    picture,
    press,
    region,
    run,
    say,
    stroke,
    ticks,
    ticks_so_far,
    until_quiet,
    view,
    wait_for,
    words,
)

PACKAGE = "bl_ext.user_default.facelift"
LONG, SHORT = 900, 50
HEAD_DIFFERS = 0.06
"""From the background, in displayed values, where a block shows the head."""
MEAN_OFF, MOST_OFF = 0.05, 0.15
"""How far shadings may be from Solid, in displayed values: on average, and at 95 % of the blocks of the head."""
SHADINGS = (("SOLID", ""), ("MATERIAL", ""), ("RENDERED", "EEVEE"), ("RENDERED", "CYCLES"))


def session():
    return import_module(f"{PACKAGE}.reconstruct.session").session


def timer():
    """The extension's job queue is its ``jobs``."""
    return import_module(f"{PACKAGE}.jobs.timer")


def newest():
    """The head that was asked for last, or None."""
    return timer().jobs.latest("reconstruct")


def heads():
    return [ob for ob in bpy.data.objects if ob.type == "POINTCLOUD"]


def settings():
    """Looked up each time, for undo replaces it."""
    return bpy.context.scene.facelift


def until(reached, seconds: float = 600.0):
    """Wait for the newest job."""
    end = time.monotonic() + seconds
    while not reached(newest()):
        job = newest()
        assert time.monotonic() < end and (not job.over or reached(job)), (job.state, job.stage, job.error)
        yield 0.1


def press_big_button():
    before = newest()
    click(*(words("Reconstruct Face") or words("Add to Queue")))
    yield from wait_for(lambda: newest() is not before, "the click did not start a job")


def press_cancel():
    click(*words("Cancel"))
    yield from wait_for(newest().cancel.is_set, "the click did not cancel")


def have_head():
    if not heads():
        settings().photo, settings().steps = os.environ["TEST_PHOTO"], SHORT
        bpy.ops.facelift.reconstruct("INVOKE_DEFAULT")
        yield from until(lambda job: job.over)
        yield 2


def choose(*photos: str) -> None:
    files = [{"name": Path(photo).name} for photo in photos]
    assert bpy.ops.facelift.choose_photos(directory=str(Path(photos[0]).parent), files=files) == {"FINISHED"}
    view().tag_redraw()


def prepare():
    result = bpy.ops.extensions.package_install_files(
        filepath=os.environ["TEST_ZIP"], repo="user_default", enable_on_install=True, overwrite=True
    )
    assert result == {"FINISHED"}
    bpy.data.objects.remove(bpy.data.objects["Cube"])  # two metres wide, the head would stand inside it
    yield 2
    view().spaces.active.show_region_ui = True
    yield 2
    region().active_panel_category = "FaceLift"
    yield 2
    picture("panel_empty")
    settings().photo = os.environ["TEST_PHOTO"]
    settings().weights = os.environ["TEST_WEIGHTS"]
    settings().steps = LONG
    view().tag_redraw()
    yield 6


def cutout():
    """The portrait as cut out, painted in, taken back, painted in again and used."""
    edits = import_module(f"{PACKAGE}.reconstruct.edits")
    subject = import_module(f"{PACKAGE}.reconstruct.session").subject_of_scene(bpy.context)
    yield from cut_out()
    yield 1
    picture("panel_cutout")
    click(*words("Edit Cut-out"))
    yield from wait_for(lambda: edits.image_of(subject) is not None, "the click did not open the cut-out")
    yield 2
    editor = next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "IMAGE_EDITOR")
    space = editor.spaces.active
    assert space.image == edits.image_of(subject) and space.mode == "PAINT", (space.image, space.mode)
    where = next(region for region in editor.regions if region.type == "WINDOW")
    paint = bpy.context.tool_settings.image_paint
    yield from wait_for(lambda: paint.brush is not None and paint.brush.blend == "ERASE_ALPHA", "no brush that erases")
    yield 4
    picture("window_cutout", sidebar_only=False)

    def place(x, y):
        """Of the picture, from its left and top, on the screen."""
        inside = where.view2d.view_to_region(x, 1 - y, clip=False)
        return round(where.x + inside[0]), round(HEIGHT - where.y - inside[1])

    def edited() -> bool:
        return edits.edited(edits.image_of(subject))

    across = [place(0.1 + 0.05 * n, 0.9) for n in range(17)]
    stroke(*across)
    yield 8  # until it has ended
    yield from wait_for(edited, "the stroke did not edit")
    yield 2
    picture("window_erased", sidebar_only=False)
    press("ctrl+z", *place(0.5, 0.5))
    yield from wait_for(lambda: not edited(), "Ctrl Z did not take the stroke back")
    yield 2
    press("ctrl+shift+z", *place(0.5, 0.5))
    yield from wait_for(edited, "Ctrl Shift Z did not bring the stroke back")
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=editor, region=where):
        bpy.ops.facelift.cutout_brush(blend="ADD_ALPHA")
    yield 1
    stroke(*across[:9])
    yield 8
    picture("window_brought_back", sidebar_only=False)
    picture("panel_edited")
    settings().steps = SHORT
    bpy.ops.facelift.reconstruct("INVOKE_DEFAULT")
    assert newest().request.cutout, "what was painted is not in the request"
    yield from until(lambda job: job.over)
    assert newest().state == "done", newest().error
    yield 3
    picture("window_of_edited", sidebar_only=False)
    edits.reset(subject)
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=editor):
        bpy.ops.screen.area_close()
    yield 2
    say("cut-out: good")


def cut_out():
    """Wait for the cut-out that is made because somebody looks at the panel."""
    module = import_module(f"{PACKAGE}.reconstruct.session")
    known = lambda: session().cutouts.known(module.subject_of_scene(bpy.context))  # noqa: E731
    yield from wait_for(lambda: known() is not None, "the portrait was not cut out by itself", 120)


def job():
    """Idle, running, cancelled, finished."""
    settings().steps = LONG
    view().tag_redraw()
    yield 2
    picture("panel_idle")
    picture("window_idle", sidebar_only=False)
    yield 2
    forget_ticks()
    yield 15
    idle = ticks()
    yield from press_big_button()
    yield from until(lambda job: job.stage == "load")
    yield 2
    picture("panel_loading")
    yield from until(lambda job: job.stage == "views" and job.fraction > 0.08)
    forget_ticks()
    yield 15
    say(f"ticks, idle: {idle}")
    say(f"ticks, running: {ticks()}; the last drawing of the panel took {1000 * timer()._throttle.cost:.0f} ms")
    picture("panel_running")
    picture("window_running", sidebar_only=False)
    yield from press_cancel()
    yield from until(lambda job: job.over)
    yield 2
    assert newest().state == "cancelled", (newest().state, newest().error)
    picture("panel_cancelled")
    settings().steps = SHORT
    forget_ticks()
    yield from press_big_button()
    yield from until(lambda job: job.views is not None)
    at_views = ticks_so_far()
    yield from until(lambda job: job.over)
    at_head = ticks_so_far()
    say(f"ticks, from the click to the head: {ticks()}")
    say(f"ticks, from the six views to the head: {ticks(at_views)}")
    yield 2
    say(f"ticks, while the head is drawn for the first times: {ticks(at_head)}")
    assert newest().state == "done", (newest().state, newest().error)
    assert session().arrived == [] and bpy.context.view_layer.objects.active in heads()
    picture("panel_finished")


def likeness():
    """A head fitted to its photo: cancelled while it is fitted, and then to its end."""
    settings().likeness, settings().steps = "refined", SHORT
    view().tag_redraw()
    yield from cut_out()  # which moves the button
    yield 2
    yield from press_big_button()
    yield from until(lambda job: job.stage == "skin")
    yield 0.5
    picture("panel_skin")
    yield from until(lambda job: job.stage == "refine" and job.message.startswith("Step"))
    yield 4
    left = newest().seconds_left()
    say(f"while fitted: {newest().fraction:.2f}, {newest().message}, {left and round(left)} s left")
    picture("panel_refine")
    yield from press_cancel()
    yield from until(lambda job: job.over)
    yield 2
    assert newest().state == "cancelled", (newest().state, newest().error)
    count = len(heads())
    yield from press_big_button()
    yield from until(lambda job: job.over)
    yield 3
    assert newest().state == "done" and len(heads()) == count + 1, (newest().state, newest().error)
    summary = newest().result
    assert summary["likeness"] == "refined" and summary["timings"]["refine"] > 0, summary
    say(f"refined: {summary['gaussians']} Gaussians, {summary['timings']}")
    picture("window_refined", sidebar_only=False)
    settings().likeness = "photo"


def shadings():
    """The head in every shading of the viewport, or in those of TEST_SHADINGS: SOLID, MATERIAL, EEVEE, CYCLES.

    Each has to look like Solid shading, without which there is nothing to compare with.
    """
    yield from have_head()
    x, y = on_screen(300, 300, "WINDOW")
    press("shift+c", x, y)
    yield 2
    with bpy.context.temp_override(area=view(), region=region("WINDOW")):
        bpy.ops.view3d.view_axis(type="FRONT")
        bpy.ops.view3d.view_selected()
        bpy.ops.object.select_all(action="DESELECT")
    engines = bpy.context.scene.render.bl_rna.properties["engine"].enum_items.keys()
    wanted = os.environ.get("TEST_SHADINGS", "SOLID MATERIAL EEVEE CYCLES").split()
    for kind, engine in SHADINGS:
        if (engine or kind) not in wanted:
            continue
        if engine:
            named = {"CYCLES"} if engine == "CYCLES" else {"BLENDER_EEVEE_NEXT", "BLENDER_EEVEE"} & set(engines)
            bpy.context.scene.render.engine = named.pop() if named else "BLENDER_EEVEE_NEXT"
            # Coarse, for a thousand surfaces per ray take software minutes at the size of the view.
            bpy.context.scene.cycles.preview_samples = 4
            bpy.context.scene.render.preview_pixel_size = "4" if engine == "CYCLES" else "1"
        bpy.ops.facelift.apply_render_settings()
        view().spaces.active.shading.type = kind
        yield 3
        began = time.monotonic()
        yield from until_quiet(600)
        # The first picture of EEVEE is drawn before its shaders are there.
        view().tag_redraw()
        yield from until_quiet(120)
        say(f"{kind.lower()} {engine.lower()}: quiet after {time.monotonic() - began:.0f} s")
        name = f"window_{(engine or kind).lower()}"
        picture(name, sidebar_only=False)
        if kind != "SOLID":
            looks_like("window_solid", name)
    view().spaces.active.shading.type = "SOLID"
    yield 2


def looks_like(reference: str, name: str) -> None:
    """The head in picture `name` has the colours of `reference`, roughly, block by block."""
    view_blocks = blocks_of_view()
    expected, found = average_colors(reference)[view_blocks], average_colors(name)[view_blocks]
    background = np.median(expected, axis=(0, 1))
    differs = np.abs(expected - background).max(axis=2) > HEAD_DIFFERS
    # With the blocks around it, where a rim would be.
    around = np.pad(differs, 1)
    head = np.any([np.roll(around, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)[1:-1, 1:-1]
    assert differs.sum() > 100, f"hardly anything of a head in {reference}: {differs.sum()} blocks"
    off = np.abs(found - expected).max(axis=2)[head]
    say(f"{name}: off by {off.mean():.3f}, {np.quantile(off, 0.95):.3f} at 95 %, of {len(off)} blocks")
    assert off.mean() < MEAN_OFF and np.quantile(off, 0.95) < MOST_OFF, f"{name} does not look like {reference}"


def undo():
    """Ctrl Z while a job runs takes back what the person did, and the head comes nevertheless."""
    settings().steps = LONG
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=view(), region=region("WINDOW")):
        bpy.ops.ed.undo_push(message="before")
        bpy.ops.object.empty_add()
        bpy.ops.ed.undo_push(message="empty")
    count = len(heads())
    yield from press_big_button()
    yield from until(lambda job: job.stage == "views")
    press("ctrl+z", *on_screen(300, 300, "WINDOW"))
    yield from wait_for(lambda: not any(ob.type == "EMPTY" for ob in bpy.data.objects), "Ctrl Z did not undo")
    yield 3
    assert not newest().over and newest().stage == "views"
    yield from press_cancel()
    yield from until(lambda job: job.over)
    settings().steps = SHORT
    yield from press_big_button()
    yield from until(lambda job: job.stage == "views")
    press("ctrl+shift+z", *on_screen(300, 300, "WINDOW"))
    yield from until(lambda job: job.over)
    yield 2
    assert newest().state == "done" and len(heads()) == count + 1, (newest().state, newest().error, len(heads()))
    press("ctrl+z", *on_screen(300, 300, "WINDOW"))
    yield from wait_for(lambda: len(heads()) == count, "Ctrl Z did not take the head back")
    say("undo: good")


def several():
    """A queue of two photos, and the image that is open in the Image Editor."""
    count = len(heads())
    choose(os.environ["TEST_PHOTO"], os.environ["TEST_PHOTO"])
    yield 2
    picture("panel_two")
    assert timer().jobs.active("reconstruct") == []
    settings().steps = SHORT
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=view(), region=region("WINDOW")):
        assert bpy.ops.facelift.reconstruct("INVOKE_DEFAULT") == {"FINISHED"}
    first, second = timer().jobs.active("reconstruct")
    assert second is newest()
    yield from until(lambda job: first.stage == "views")
    yield 1
    picture("panel_queue")
    yield from until(lambda job: job.over)
    yield 2
    assert len(heads()) == count + 2, len(heads())
    editor = next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "DOPESHEET_EDITOR")
    editor.type = "IMAGE_EDITOR"
    editor.spaces.active.image = bpy.data.images.load(os.environ["TEST_PHOTO"])
    settings().photo = os.environ["TEST_PHOTO"]
    view().tag_redraw()
    yield 3
    picture("panel_image_editor")
    click(*words("Use Open Image"))
    yield from wait_for(lambda: settings().photo != os.environ["TEST_PHOTO"], "the click did not take the image")
    assert Path(settings().photo).is_file() and "portrait" in Path(settings().photo).name
    editor.type = "DOPESHEET_EDITOR"
    say("queue and Image Editor: good")
    yield 2


def drops():
    """Files dragged from another program's window."""
    settings().photo = ""
    photo = Path(os.environ["TEST_PHOTO"])
    place = on_screen(120, 500)
    yield from drop(photo, *place)
    picture("drop_on_sidebar", sidebar_only=False)
    yield from answer("p", *place)  # Portrait Photo for FaceLift
    assert settings().photo == str(photo), "a photo dropped on the sidebar"
    settings().photo = ""
    place = on_screen(300, 300, "WINDOW")
    yield from drop(photo, *place)
    picture("drop_on_view", sidebar_only=False)
    yield from answer("p", *place)
    assert settings().photo == str(photo), "a photo dropped on the view"
    yield from have_head()
    count = len(heads())
    place = on_screen(300, 400, "WINDOW")
    head = import_module(f"{PACKAGE}.reconstruct.session").head_of(newest())
    yield from drop(head.head, *place)
    picture("drop_ply", sidebar_only=False)
    yield from answer("g", *place)  # Gaussian Splats (FaceLift), which asks first and shows a picture
    assert len(heads()) == count, "imported without asking"
    picture("drop_ply_asked", sidebar_only=False)
    yield from answer("Return", *place)
    assert len(heads()) == count + 1, "a .ply dropped on the view"
    say("drops: good")


def answer(key: str, x: float, y: float):
    """The underlined letter of a menu."""
    press(key, x, y)
    yield 4


def missing():
    """What the panel says if nothing is there."""
    settings().photo = "/nowhere/photo.jpg"
    settings().weights = "/nowhere"
    view().tag_redraw()
    yield 2
    picture("panel_missing")


PARTS = {part.__name__: part for part in (cutout, job, likeness, shadings, undo, several, drops, missing)}


def steps():
    yield from prepare()
    for name in os.environ.get("TEST_PARTS", " ".join(PARTS)).split():
        yield from PARTS[name]()
    say("ALL GOOD")


bpy.context.preferences.view.show_splash = False
run(steps())
