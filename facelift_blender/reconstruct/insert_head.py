"""Adds a finished head to a scene: the object, its pictures and metadata."""

from __future__ import annotations

from pathlib import Path

import bpy
from facelift_core.gaussians import files
from facelift_core.gaussians.transforms import transform

from ..jobs.folders import Finished
from ..splats import heads, placement
from ..splats.objects import bounds, create_splat_object, head_scale
from ..splats.viewport import framing

COLLECTION = "FaceLift"
FILE = "facelift_file"
"""Custom property of pictures: the file they were loaded from, so that none is added twice."""
HEAD = "facelift_photo"
"""Custom property of heads: the name of the photo."""


def add_head(head: Finished, scene: bpy.types.Scene, scale: float = 1.0) -> bpy.types.Object:
    """Add the head at the 3D cursor, or beside what is there, upright along Z and facing −Y, and select only it.

    The head is `scale` times life-size, in the scene's units, and stands on its origin. Viewports that nobody has
    moved show it, with the heads beside it. The portrait and the views are packed into the file;
    custom properties of the object refer to them and store the settings of the reconstruction.

    Raises:
        FaceLiftError: the files are missing or damaged.
    """
    scale *= head_scale(scene)
    splats = files.read(head.head)
    matrix, lift = heads.standing(splats.positions, scale)
    splats = transform(splats, matrix)
    low, high = bounds(splats.positions, placement.SHARE)
    request = head.summary.get("request", {})
    pictures = {
        "facelift_portrait": add_picture(head.portrait, f"{head.name} portrait"),
        "facelift_views": add_picture(head.views, f"{head.name} views"),
    }
    metadata = {
        HEAD: Path(head.summary["photo"]).name,
        "facelift_seed": str(request.get("seed", "")),
        "facelift_steps": str(request.get("steps", "")),
        "facelift_weights": Path(str(request.get("weights", ""))).name,
        "facelift_version": str(head.summary.get("version", "")),
        "facelift_seconds": float(head.summary.get("seconds", 0.0)),
        heads.PLACING: (scale, lift),
        # Pointers, so that the pictures are saved with the head.
        **{name: picture for name, picture in pictures.items() if picture is not None},
    }
    ob = create_splat_object(
        scene,
        splats,
        head.name,
        collection=_collection(scene),
        location=tuple(placement.free_place(scene, low, high)),
        metadata=metadata,
    )
    _select_alone(ob, scene)
    framing.frame_untouched(scene, [ob, *_others(scene, ob)])
    return ob


def _others(scene: bpy.types.Scene, ob: bpy.types.Object) -> list[bpy.types.Object]:
    """The visible heads that stand in a row with `ob`."""
    return [
        other
        for other in scene.objects
        if other != ob
        and HEAD in other
        and other.visible_get(view_layer=scene.view_layers[0])
        and (other.location - ob.location).yz.length < 1e-4
    ]


def add_picture(path: Path, name: str) -> bpy.types.Image | None:
    """Pack the picture into the .blend file, unless it is there already; None if it cannot be read."""
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
    """The scene's collection for heads; created on first use."""
    for collection in scene.collection.children_recursive:
        if collection.name.split(".")[0] == COLLECTION and collection.library is None:
            return collection
    collection = bpy.data.collections.new(COLLECTION)
    scene.collection.children.link(collection)
    return collection


def _select_alone(ob: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Select only `ob`, and make it active, in every view layer that shows it."""
    for layer in scene.view_layers:
        layer.update()  # otherwise the layer may not contain the new object yet
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
