"""Splats in the viewport of a real Blender: drawn into pictures, and seen on the screen.

    blender --factory-startup --window-geometry 0 0 900 700 --python tests/blender/viewport.py -- FOLDER

FOLDER has jobs.json: pictures to draw, for comparison with our renderer outside. A generator does one step after the
other and gives the seconds until the next, so that Blender lives between them.
"""

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import bpy
import gpu
import numpy as np
from mathutils import Euler, Matrix, Vector

from facelift_core.gaussians import files as formats
from facelift_core.gaussians.arrays import SH_C0

sys.path.insert(0, str(Path(__file__).parent))
from from_source import FOLDER, package, refused

from facelift_blender.splats import attributes, editing, nodes, objects
from facelift_blender.splats.viewport import collect, drawing, handlers, state

GREY, RED, GREEN = "grey", "red", "green"


def area():
    """Looked up each time, for layouts change."""
    return next(found for found in bpy.context.window_manager.windows[0].screen.areas if found.type == "VIEW_3D")


def view_region():
    return next(region for region in area().regions if region.type == "WINDOW")


def in_view():
    """Context of the 3D viewport, which timers have to ask for."""
    return bpy.context.temp_override(window=bpy.context.window_manager.windows[0], area=area(), region=view_region())


def redraw():
    with in_view():
        bpy.ops.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=1)


def screen(name: str) -> np.ndarray:
    """(H, W, 4) displayed values, bottom row first."""
    path = str(FOLDER / f"{name}.png")
    # Blender's own screenshots are black where it draws on a virtual screen.
    subprocess.run(["import", "-window", "root", path], check=True)
    image = bpy.data.images.load(path)
    width, height = image.size
    pixels = np.array(image.pixels[:], np.float32).reshape(height, width, 4)
    bpy.data.images.remove(image)
    return pixels


def seen(name: str) -> str:
    """What is in the middle of the viewport, on the screen: grey, red or green."""
    redraw()
    redraw()  # with Vulkan the screen is a picture behind
    pixels = screen(name)
    height = len(pixels)
    window, region = bpy.context.window_manager.windows[0], view_region()
    x, y = region.x + region.width // 2, height - window.height + region.y + region.height // 2
    # Beside the cursor and the object's origin, which are drawn over everything.
    patch = pixels[y + 14 : y + 22, x + 14 : x + 22, :3].mean(axis=(0, 1))
    if patch[0] > 2 * patch[1]:
        return RED
    return GREEN if patch[1] > 2 * patch[0] else GREY


def expect(name: str, color: str) -> None:
    print("--", name, flush=True)
    found = seen(name.replace(" ", "_"))
    assert found == color, f"{name}: {found}"


def outlines(ball: bpy.types.Object) -> None:
    """A selected ball has the theme's outline, unless overlays are off."""
    theme = bpy.context.preferences.themes[0].view_3d
    for active, color in ((True, theme.object_active), (False, theme.object_selected)):
        bpy.context.view_layer.objects.active = ball if active else bpy.context.scene.camera
        around = near_color(f"outline_{active}", color)
        assert around > 300, f"{around} pixels of outline"
    overlay = area().spaces.active.overlay
    for owner, name, value in ((overlay, "show_outline_selected", False), (overlay, "show_overlays", False)):
        setattr(owner, name, value)
        around = near_color("no_outline", theme.object_selected)
        assert around < 100, f"{around} pixels of outline without {name}"
        setattr(owner, name, True)
    ball.select_set(False)
    around = near_color("deselected", theme.object_selected)
    assert around < 100, f"{around} pixels of outline of what is not selected"


def near_color(name: str, color) -> int:
    """How many pixels of the viewport are about of this displayed color."""
    redraw()
    redraw()
    pixels = screen(name)
    window, region = bpy.context.window_manager.windows[0], view_region()
    bottom = pixels.shape[0] - window.height + region.y
    part = pixels[bottom : bottom + region.height, region.x : region.x + region.width, :3]
    return int((np.abs(part - np.array(color)).max(axis=2) < 0.06).sum())


def look(rotation, distance: float = 3.0) -> None:
    view = area().spaces.active.region_3d
    view.view_perspective = "PERSP"
    view.view_location = (0, 0, 0)
    view.view_distance = distance
    view.view_rotation = Euler(rotation).to_quaternion()
    view.update()


def red_ball(name: str = "Ball") -> bpy.types.Object:
    draw = np.random.default_rng(0)
    points = draw.normal(size=(600, 3))
    points *= 0.3 / np.linalg.norm(points, axis=1, keepdims=True)
    sh = np.tile((np.array([0.9, 0.05, 0.05]) - 0.5) / SH_C0, (600, 1, 1))
    rotations = np.tile([1.0, 0.0, 0.0, 0.0], (600, 1))
    fields = (points, sh, np.full((600, 3), np.log(0.03)), rotations, np.full(600, 4.0))
    splats = attributes.SplatArrays(*(np.ascontiguousarray(values, np.float32) for values in fields))
    return objects.create_splat_object(bpy.context, splats, name)


def settled():
    """Let Blender see what is on the screen, and act on it."""
    redraw()
    end = time.monotonic() + 30
    while state.outdated():
        assert time.monotonic() < end, "the change of shading was not noticed"
        yield 0.2


def drawn_points(item: bpy.types.Object) -> int:
    """How many Gaussians of `item` are left to our drawing, 0 if the engine draws."""
    cloud = item.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    return len(cloud.points) if attributes.DRAWN in cloud.attributes else 0


def empty_scene() -> None:
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=False)
    for item in list(bpy.data.objects):
        if item.type != "CAMERA":
            bpy.data.objects.remove(item)


def pictures() -> None:
    """Draw the jobs into .npy files, and tell how long it takes, in milliseconds of this process' processor time."""
    jobs = json.loads((FOLDER / "jobs.json").read_text())
    store = drawing.Store()
    for job in jobs:
        for item in splat_items():
            bpy.data.objects.remove(item)
        for ply, matrix in job["objects"]:
            made = {item["ply"]: item for item in splat_items()}
            if ply in made:  # a linked duplicate
                item = editing.duplicate_as_instance(made[ply])
            else:
                item = objects.create_splat_object(bpy.context, formats.read(Path(ply)), "Head", metadata={"ply": ply})
            item.matrix_world = Matrix(matrix)
        bpy.context.view_layer.update()
        width, height = job["size"]
        flip = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV's camera axes to Blender's
        view = np.linalg.inv(np.array(job["c2w"]) @ flip)
        near, far = 0.01, 100.0
        projection = np.zeros((4, 4))
        projection[0, 0], projection[1, 1] = 2 * job["focal"] / width, 2 * job["focal"] / height
        projection[2, 2:] = -(far + near) / (far - near), -2 * far * near / (far - near)
        projection[3, 2] = -1.0
        with in_view():
            clouds, places = collect.Reader().visible(bpy.context)
        assert len(places) == len(job["objects"]), (len(places), job["objects"])
        target = gpu.types.GPUOffScreen(width, height, format="RGBA32F")
        painter = drawing.Painter(store)
        with target.bind():
            buffer = gpu.state.active_framebuffer_get()
            took = []
            for _ in range(3 if job.get("time") else 1):
                buffer.clear(color=(0, 0, 0, 0), depth=1.0)
                start = time.process_time()
                painter.draw(clouds, places, view, projection, (width, height), linear=False)
                pixels = buffer.read_color(0, 0, width, height, 4, 0, "FLOAT")
                took.append(round(1000 * (time.process_time() - start)))
        pixels.dimensions = width * height * 4
        np.save(job["out"], np.array(pixels, np.float32).reshape(height, width, 4)[::-1])
        target.free()
        count = sum(len(clouds[place.key].positions) for place in places)
        print(f":: {count} Gaussians, {width} x {height}: {took} ms", flush=True)


def splat_items() -> list[bpy.types.Object]:
    return objects.splat_objects(bpy.data.objects)


def steps():
    for cls in package.CLASSES:
        bpy.utils.register_class(cls)
    package.register_menus()
    empty_scene()
    yield 1
    red_ball()
    yield from settled()
    print(f":: Blender {bpy.app.version_string}, {gpu.platform.backend_type_get()}", flush=True)
    assert not state.problem(), state.problem()
    assert drawn_points(splat_items()[0]) == 600
    pictures()
    for item in splat_items():
        bpy.data.objects.remove(item)
    yield from on_the_screen()
    undo_and_redo_of_each_operator()
    undo_and_redo_of_apply()
    assert not state.problem(), state.problem()
    print("ALL GOOD", flush=True)


def on_the_screen():
    expect("nothing there", GREY)
    ball = red_ball()
    for name, rotation in (("front", (1.5, 0, 0)), ("back", (1.5, 0, 3.1)), ("above", (0.4, 0, 1.0))):
        look(rotation)
        expect(name, RED)
    area().spaces.active.region_3d.view_perspective = "ORTHO"
    expect("orthographic", RED)
    look((1.5, 0, 0))

    bpy.ops.mesh.primitive_cube_add(size=0.8, location=(0, -1, 0))
    cube = bpy.context.object
    expect("behind a mesh", GREY)
    cube.location.y = 1.0
    expect("before a mesh", RED)
    ball.hide_set(True)
    expect("hidden", GREY)
    ball.hide_set(False)
    expect("shown again", RED)
    with in_view():
        bpy.ops.object.select_all(action="DESELECT")
        cube.select_set(True)
        cube.location.x = 50.0
        bpy.ops.view3d.localview(frame_selected=False)
    expect("local view of something else", GREY)
    with in_view():
        bpy.ops.view3d.localview(frame_selected=False)
    bpy.data.objects.remove(cube)
    expect("out of local view", RED)

    with in_view():
        middle = view_region()
        bpy.ops.view3d.select(location=(middle.width // 2 + 20, middle.height // 2 + 20))
    assert ball.select_get(), "a click does not select it"
    outlines(ball)

    modifier = nodes.find_modifier(ball)
    nodes.set_input(modifier, "Tint", (0.0, 1.0, 0.0, 1.0))
    nodes.set_input(modifier, "Hue", 2 * np.pi / 3)
    expect("recoloured", GREEN)
    nodes.set_input(modifier, "Tint", (1.0, 1.0, 1.0, 1.0))
    nodes.set_input(modifier, "Hue", 0.0)
    expect("as it was", RED)

    bpy.context.view_layer.objects.active = ball
    with in_view():
        bpy.ops.ed.undo_push(message="before")
        assert bpy.ops.facelift.splats_crop() == {"FINISHED"}
        bpy.data.objects["Ball Crop"].location = (5, 0, 0)
        bpy.ops.ed.undo_push(message="cropped")
    expect("cropped", GREY)
    with in_view():
        bpy.ops.ed.undo()
    expect("undone", RED)
    assert "Ball Crop" not in bpy.data.objects
    ball = bpy.data.objects["Ball"]

    group = bpy.data.collections.new("Balls")
    group.objects.link(ball)
    bpy.context.scene.collection.children.link(group)
    for other in list(ball.users_collection):
        if other != group:
            other.objects.unlink(ball)
    ball.location = (7, 0, 0)
    bpy.context.view_layer.layer_collection.children["Balls"].exclude = True
    expect("excluded from the view layer", GREY)
    empty = bpy.data.objects.new("Instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", group
    empty.matrix_world = Matrix.Translation(Vector((-7, 0, 0)))
    bpy.context.scene.collection.objects.link(empty)
    expect("a collection instance", RED)
    empty.hide_set(True)
    expect("its empty is hidden", GREY)
    empty.hide_set(False)

    shading = area().spaces.active.shading
    bpy.context.scene.render.engine = "BLENDER_WORKBENCH"
    for kind, ours in (("RENDERED", False), ("SOLID", True), ("WIREFRAME", False), ("SOLID", True)):
        shading.type = kind
        yield from settled()
        assert bool(drawn_points(ball)) == ours, (kind, shading.type, state.outdated(), state.drawn(bpy.context.scene))
        if ours:
            expect(f"shading {kind}", RED)
    shading.type = "SOLID"
    yield from settled()
    viewport_renders()
    bpy.context.scene.facelift_draw_splats = False
    assert drawn_points(ball) == 0
    expect("switched off", GREY)
    bpy.context.scene.facelift_draw_splats = True
    expect("switched on", RED)

    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "ball.blend"))
    empty_scene()
    expect("another file", GREY)
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "ball.blend"))
    yield from settled()
    expect("the file opened again", RED)
    ball = bpy.data.objects["Ball"]
    package.unregister_menus()
    assert drawn_points(ball) == 0, "the engine does not get its points back"
    expect("without the add-on", GREY)
    package.register_menus()
    yield from settled()
    expect("with it again", RED)
    assert handlers._handle is not None


def viewport_renders() -> None:
    """The ball in the middle, in pictures and in films, of what is seen and through a camera that sees it."""
    scene, view = bpy.context.scene, area().spaces.active
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 320, 160, 50
    scene.frame_start, scene.frame_end = 1, 2
    scene.render.filepath = str(FOLDER / "film_")
    scene.view_settings.view_transform = "Standard"
    engines = scene.render.bl_rna.properties["engine"].enum_items.keys()
    scene.render.engine = next(engine for engine in engines if "EEVEE" in engine)  # without, no material preview
    editor = next(a for a in bpy.context.window_manager.windows[0].screen.areas if a.type == "DOPESHEET_EDITOR")
    editor.type = "IMAGE_EDITOR"
    scene.camera.location *= 0.3
    for kind, perspective in (("SOLID", "PERSP"), ("MATERIAL", "PERSP"), ("SOLID", "ORTHO"), ("MATERIAL", "CAMERA")):
        print("-- viewport render", kind, perspective, flush=True)
        view.shading.type, view.region_3d.view_perspective = kind, perspective
        with in_view():
            assert bpy.ops.facelift.viewport_render() == {"FINISHED"}
            assert bpy.ops.facelift.viewport_render(animation=True) == {"FINISHED"}
        film = [bpy.data.images.load(str(FOLDER / f"film_000{frame}.png")) for frame in (1, 2)]
        for image in (editor.spaces.active.image, *film):
            assert tuple(image.size) == (160, 80), image.size
            pixels = np.array(image.pixels[:]).reshape(80, 160, 4)
            # Beside what is drawn over everything: the cursor, the origin, axes.
            red, green, _ = pixels[44:48, 84:88, :3].mean(axis=(0, 1))
            assert red > 2 * green and red > 0.5, f"no red ball in {image.name}: {red:.2f}, {green:.2f}"
            assert abs(pixels[2, 2, 0] - pixels[2, 2, 1]) < 0.05, f"it is red everywhere in {image.name}"
        for image in film:
            bpy.data.images.remove(image)
    assert sum(image.name.startswith("Viewport Render") for image in bpy.data.images) == 1
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):  # Blender 5
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    with in_view():
        refused(lambda: bpy.ops.facelift.viewport_render(animation=True), "Choose an image format")
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format = "PNG"
    view.shading.type, view.region_3d.view_perspective = "SOLID", "PERSP"
    editor.type = "DOPESHEET_EDITOR"
    scene.render.engine = "BLENDER_WORKBENCH"


def snapshot() -> tuple:
    """What the operators change."""
    scene = bpy.context.scene
    found = []
    for item in sorted(bpy.data.objects, key=lambda item: item.name):
        values = []
        if modifier := nodes.find_modifier(item) if objects.is_splat_object(item) else None:
            names = ("Render As", "Viewport As", "Match Viewers", "Crop")
            values = [nodes.get_input(modifier, name) for name in names]
            box = nodes.get_input(modifier, "Crop Box")
            values.append(box and box.name)
            deleted = attributes.DELETED in item.data.attributes
            values.append(int(attributes.get_values(item.data, attributes.DELETED, 1).sum()) if deleted else 0)
        found.append((item.name, item.instance_type, item.select_get(), tuple(values)))
    return tuple(found), scene.cycles.transparent_max_bounces, scene.view_settings.view_transform


def undo_and_redo_of_each_operator():
    empty_scene()
    assert bpy.context.window is None, "objects have to come in here, too, where Blender 4.3 cannot remove scenes"
    ball = red_ball()
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    library = bpy.data.collections.new("Library")
    inner = red_ball("Inner")
    for other in list(inner.users_collection):
        other.objects.unlink(inner)
    library.objects.link(inner)
    empty = bpy.data.objects.new("Instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", library
    scene.collection.objects.link(empty)
    formats.write(attributes.read(ball.data), FOLDER / "ball.ply")
    attribute = ball.data.attributes.new(editing.SELECTION, "BOOLEAN", "POINT")
    attribute.data.foreach_set("value", np.arange(600) < 50)
    ball.select_set(True)
    with in_view():
        bpy.ops.ed.undo_push(message="before")
        for active, name, arguments in (
            ("Ball", "splats_show_as", {"mode": nodes.ANY_VIEW}),
            ("Ball", "splats_match_viewers", {"on": True}),
            ("Ball", "splats_crop", {}),
            ("Ball", "splats_uncrop", {}),
            ("Ball", "splats_delete_selected", {}),
            ("Ball", "splats_restore_deleted", {}),
            ("Ball", "splats_duplicate", {}),
            ("Ball", "apply_render_settings", {}),
            ("Instance", "splats_instances_real", {}),
            ("Ball", "import_splats", {"filepath": str(FOLDER / "ball.ply")}),
            ("Ball", "splats_join", {}),
        ):
            print("-- undo", name, flush=True)
            bpy.context.view_layer.objects.active = bpy.data.objects[active]
            if name == "splats_join":
                for item in objects.splat_objects(bpy.context.view_layer.objects):
                    item.select_set(True)
                bpy.ops.ed.undo_push(message="selected")
            before = snapshot()
            assert getattr(bpy.ops.facelift, name)("EXEC_DEFAULT", True, **arguments) == {"FINISHED"}
            after = snapshot()
            assert after != before, f"{name} changed nothing"
            bpy.ops.ed.undo()
            assert snapshot() == before, f"{name}: {snapshot()} after undo, {before} before"
            bpy.ops.ed.redo()
            assert snapshot() == after, f"{name}: {snapshot()} after redo, {after} before"


def undo_and_redo_of_apply() -> None:
    """Blender takes its undo steps before the Gaussians have followed their points."""
    empty_scene()
    ball = red_ball()
    ball.select_set(True)
    bpy.context.view_layer.objects.active = ball
    ball.scale = (2, 2, 2)
    size = attributes.get_values(ball.data, attributes.SCALE, 3).mean()

    def expect_scale(object_scale: float, factor: float) -> None:
        bpy.context.view_layer.update()
        ball = bpy.data.objects["Ball"]
        found = attributes.get_values(ball.data, attributes.SCALE, 3).mean() / size
        assert ball.scale.x == object_scale and abs(found - factor) < 1e-4, (ball.scale.x, found)

    with in_view():
        bpy.ops.ed.undo_push(message="scaled")
        bpy.ops.object.transform_apply("EXEC_DEFAULT", True)
        expect_scale(1, 2)
        bpy.ops.ed.undo()
        expect_scale(2, 1)
        bpy.ops.ed.redo()
        expect_scale(1, 2)
        bpy.ops.transform.translate("EXEC_DEFAULT", True, value=(0.1, 0, 0))
        expect_scale(1, 2)
        bpy.ops.ed.undo()
        expect_scale(1, 2)
        bpy.ops.ed.undo()
        expect_scale(2, 1)


script = steps()


def drive() -> float | None:
    try:
        return next(script)
    except StopIteration:
        pass
    except Exception:
        traceback.print_exc()
        sys.stderr.flush()
    package.unregister_menus()
    sys.stdout.flush()
    os._exit(0)


bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(drive, first_interval=2.0, persistent=True)
