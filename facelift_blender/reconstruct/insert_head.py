"""A finished head into a scene: the object, its pictures, where it came from."""

from __future__ import annotations

from pathlib import Path

import bpy
from facelift_core.gaussians import files

from ..jobs.folders import Finished
from ..splats.objects import create_splat_object, head_scale

COLLECTION = "FaceLift"
FILE = "facelift_file"
"""Custom property of pictures: which job's they are, so that none comes twice."""


def add_head(head: Finished, scene: bpy.types.Scene, scale: float = 1.0) -> bpy.types.Object:
    """The head as an object at the 3D cursor, standing on Z and looking along −Y; selected alone.

    Its size is `scale` times that of a real head, in the scene's units. Portrait and views come along as packed images,
    in custom properties beside what made them.

    Raises:
        FaceLiftError: the files are gone or damaged.
    """
    splats = files.read(head.head)
    request = head.summary.get("request", {})
    pictures = {
        "facelift_portrait": add_picture(head.portrait, f"{head.name} portrait"),
        "facelift_views": add_picture(head.views, f"{head.name} views"),
    }
    metadata = {
        "facelift_photo": Path(head.summary["photo"]).name,
        "facelift_seed": str(request.get("seed", "")),
        "facelift_steps": str(request.get("steps", "")),
        "facelift_weights": Path(str(request.get("weights", ""))).name,
        "facelift_version": str(head.summary.get("version", "")),
        "facelift_seconds": float(head.summary.get("seconds", 0.0)),
        # As pointers, so that the pictures are kept with the head.
        **{name: picture for name, picture in pictures.items() if picture is not None},
    }
    ob = create_splat_object(
        scene,
        splats,
        head.name,
        collection=_collection(scene),
        location=tuple(scene.cursor.location),
        scale=scale * head_scale(scene),
        metadata=metadata,
    )
    _select_alone(ob, scene)
    return ob


def add_picture(path: Path, name: str) -> bpy.types.Image | None:
    """The picture packed into the file, or the one of that file that is there already; None if it cannot be read."""
    key = f"{path.parent.name}/{path.name}"
    if known := next((image for image in bpy.data.images if image.get(FILE) == key), None):
        return known
    try:
        image = bpy.data.images.load(str(path))
    except RuntimeError:
        return None
    image.name = name
    image[FILE] = key
    image.pack()
    image.filepath = f"//{path.name}"
    return image


def _collection(scene: bpy.types.Scene) -> bpy.types.Collection:
    """The scene's collection for heads; made on first use."""
    for collection in scene.collection.children_recursive:
        if collection.name.split(".")[0] == COLLECTION and collection.library is None:
            return collection
    collection = bpy.data.collections.new(COLLECTION)
    scene.collection.children.link(collection)
    return collection


def _select_alone(ob: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """In the view layers that show it."""
    for layer in scene.view_layers:
        layer.update()  # without, it may not know of the new object yet
        if layer.objects.get(ob.name) is None:
            continue
        for other in layer.objects:
            if other.select_get(view_layer=layer):
                other.select_set(False, view_layer=layer)
        try:
            ob.select_set(True, view_layer=layer)
            layer.objects.active = ob
        except RuntimeError:  # its collection is excluded or hidden in this layer
            continue
