"""For scripts that try splats with the package as it lies here, in one process; they are given a folder to write to."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
FOLDER = Path(sys.argv[-1])

from facelift_blender import splats as package
from facelift_blender.splats import attributes, objects
from facelift_core import FaceLiftError

COUNT = 500


def some_splats(degree=0, seed=0, count=COUNT) -> attributes.SplatArrays:
    draw = np.random.default_rng([degree, seed])
    fields = (
        draw.normal(size=(count, 3)) * 0.2,
        draw.normal(size=(count, (degree + 1) ** 2, 3)) * 0.4,
        draw.normal(size=(count, 3)) * 0.4 - 3.2,
        draw.normal(size=(count, 4)),
        draw.normal(size=count).clip(-1.0, 2.0) * 2,
    )
    return attributes.SplatArrays(*(np.ascontiguousarray(values, np.float32) for values in fields))


def empty_file() -> bpy.types.Scene:
    """Nothing but a camera that looks along Y."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = (0, -3, 0), (np.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return scene


def head(degree=0, seed=0, name="Head", **arguments) -> bpy.types.Object:
    """An object with splats, the active one."""
    item = objects.create_splat_object(bpy.context, some_splats(degree, seed), name, **arguments)
    bpy.context.view_layer.objects.active = item
    return item


def refused(work: Callable[[], object], words: str) -> None:
    """`work` must refuse, with a sentence that has these words, and without a traceback."""
    try:
        work()
    except (RuntimeError, FaceLiftError) as error:
        assert words in str(error) and "Traceback" not in str(error), error
        return
    raise AssertionError(f"not refused: {words}")


def run_tests(script: Mapping[str, object]) -> None:
    """All functions of a script named test_…, with the operators; or those whose names have a word of the command."""
    for cls in package.CLASSES:
        bpy.utils.register_class(cls)
    package.register_menus()
    words = sys.argv[2:] or [""]
    tests = [
        (name, test) for name, test in script.items() if name.startswith("test_") and any(w in name for w in words)
    ]
    assert tests, f"no test has any of {words} in its name"
    for name, test in tests:
        print("--", name, flush=True)
        test()
    package.unregister_menus()
    for cls in reversed(package.CLASSES):
        bpy.utils.unregister_class(cls)
    print(f"ALL GOOD {len(tests)}", flush=True)
