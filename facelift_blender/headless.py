"""Turn a photo into a .blend file and a Cycles render without opening a window. Needs a Python with the bpy package.

    python -m facelift_blender.headless PHOTO -o head.blend --render head.png

The worker runs in the Python given by --python, else the one in the environment variable FACELIFT_PYTHON, else this
one. With --head, pass a .ply instead of a photo; nothing is reconstructed.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

ENABLED_AS = __package__
"""Module name to enable as an add-on: the package itself."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m facelift_blender.headless", description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path, help="portrait photo, or a .ply with --head")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.blend")
    parser.add_argument("--render", type=Path, metavar="FILE.png", help="also render the scene with Cycles")
    parser.add_argument("--size", type=int, default=512, help="width and height of the render in pixels (default 512)")
    parser.add_argument("--head", action="store_true", help="PHOTO is a reconstructed .ply: import it only")
    parser.add_argument("--python", help="Python that runs the worker")
    parser.add_argument("--weights", default="mini", help="mini (default) or a checkpoint folder")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--likeness", default="photo", choices=("off", "photo", "refined"))
    options = parser.parse_args(arguments)
    try:
        import bpy
    except ImportError:
        print("facelift: This Python has no bpy package; install it with `pip install bpy`.", file=sys.stderr)
        return 1
    if options.python or not os.environ.get("FACELIFT_PYTHON"):
        os.environ["FACELIFT_PYTHON"] = options.python or sys.executable
    import addon_utils
    from facelift_core import Cancelled, FaceLiftError

    bpy.ops.wm.read_factory_settings(use_empty=True)
    if addon_utils.enable(ENABLED_AS, default_set=True) is None:
        print("facelift: Could not enable the extension; see the messages above.", file=sys.stderr)
        return 1
    try:
        make(options)
    except (FaceLiftError, Cancelled, RuntimeError) as error:
        print(f"facelift: {str(error).strip().removeprefix('Error: ')}", file=sys.stderr)
        return 1
    finally:
        addon_utils.disable(ENABLED_AS)
    return 0


def make(options: argparse.Namespace) -> None:
    """Import or reconstruct the head, set up the scene, render it if requested, and save the .blend file.

    Raises:
        FaceLiftError: an output folder does not exist.
        RuntimeError: an operator failed, or Blender cannot write a file.
    """
    import bpy
    from facelift_core import FaceLiftError

    from .reconstruct.camera import add_camera
    from .splats.scene_settings import apply

    photo = str(options.photo.resolve())
    for path in (options.output, options.render):
        if path is not None and not path.resolve().parent.is_dir():
            raise FaceLiftError(f"Cannot write {path.name}: the folder {path.resolve().parent} does not exist.")
    if options.head:
        bpy.ops.facelift.import_splats(filepath=photo)
    else:
        bpy.ops.facelift.reconstruct(
            filepath=photo,
            weights=options.weights,
            steps=options.steps,
            seed=options.seed,
            likeness=options.likeness,
            device="auto",
        )
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x = scene.render.resolution_y = options.size
    scene.render.film_transparent = True
    apply(scene)
    bpy.context.view_layer.update()
    add_camera(bpy.context)
    if options.render:
        scene.cycles.samples = 4  # for smooth edges; splats render without noise
        scene.render.image_settings.file_format = "PNG"
        scene.render.filepath = str(options.render.resolve())
        bpy.ops.render.render(write_still=True)
        scene.render.filepath = "//"
        print(f"{options.render}: rendered in Cycles")
    bpy.ops.wm.save_as_mainfile(filepath=str(options.output.resolve()))
    print(f"{options.output}: Blender {bpy.app.version_string}")


if __name__ == "__main__":
    sys.exit(main())
