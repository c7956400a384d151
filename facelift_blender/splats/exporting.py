"""Exports splat objects to files, with all edits and, optionally, the object's transform applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians import files as formats
from facelift_core.gaussians import transforms
from facelift_core.gaussians.arrays import concatenated
from facelift_core.processes.protocol import Event

from ..jobs import folders
from ..jobs.job import Job
from . import attributes, conversion, importing, native, nodes, objects
from .attributes import SplatArrays

STATED_AXES = {".spz", ".glb", ".usda", ".usdc"}
"""Suffixes of formats that define or state which axis is up; the core writes them accordingly."""


def export_splats(
    scene: bpy.types.Scene,
    items: Sequence[bpy.types.Object],
    path: str | Path,
    *,
    apply_transform: bool = True,
    apply_modifiers: bool = True,
    up_axis: str = "Z",
    sh_degree: int = 3,
    version: int = 0,
) -> int:
    """Write the Gaussians of `items` to one file, in the format of its suffix; returns their number.

    A format that Blender's Python cannot write goes to the runtime, in the background if there is a window.

    Args:
        scene: the scene that `items` are in.
        items: objects with splats.
        path: file to write.
        apply_transform: in world space; otherwise in each object's own space.
        apply_modifiers: as rendered, with all modifiers and edits; otherwise the stored Gaussians.
        up_axis: "Z", "Y" or "-Y": the file's axis that points up. Only for formats that do not state one themselves.
        sh_degree: highest degree of view-dependent color to keep.
        version: version of an .spz file; 0 for the default.

    Raises:
        FaceLiftError: there are no Gaussians to write, the suffix is unknown, or the file cannot be written.
    """
    path = Path(bpy.path.abspath(str(path)))
    target = formats.format_of(path)
    splats = together(scene, items, apply_transform=apply_transform, apply_modifiers=apply_modifiers)
    if splats.sh_degree > sh_degree:
        splats = replace(splats, sh=np.ascontiguousarray(splats.sh[:, : (sh_degree + 1) ** 2]))
    if target.suffix not in STATED_AXES:
        splats = transforms.transform(splats, np.linalg.inv(importing.upright(up_axis)))
    options = {"version": version} if version and "version" in (target.options or {}) else {}
    try:
        formats.write(splats, path, **options)
    except formats.MissingModule:
        _write_in_runtime(splats, path, options.get("version", 0))
    return len(splats)


def together(
    scene: bpy.types.Scene,
    items: Sequence[bpy.types.Object],
    *,
    apply_transform: bool = True,
    apply_modifiers: bool = True,
) -> SplatArrays:
    """The Gaussians of all `items`; see :func:`export_splats`.

    Raises:
        FaceLiftError: there are none.
    """
    read = edited if apply_modifiers else stored
    parts = [read(scene, item, apply_transform=apply_transform) for item in items]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise FaceLiftError("There is nothing to export; select an object with visible splats.")
    return concatenated(parts)


def _write_in_runtime(splats: SplatArrays, path: Path, version: int) -> None:
    folder = folders.new_folder()
    source = folder / "export.ply"
    try:
        folder.mkdir(parents=True)
        formats.write(splats, source)

        def heard(job: Job, event: Event) -> None:
            if job.over:
                folders.remove(folder)

        conversion.convert(source, path, f"Export {path.name}", heard, version=version)
    except OSError as error:
        raise FaceLiftError(f"Cannot write to FaceLift's cache {folder}: {error.strerror or error}.") from None
    except FaceLiftError:
        folders.remove(folder)
        raise


def chosen(context: bpy.types.Context, selection_only: bool = True) -> list[bpy.types.Object]:
    """The selected objects with splats, of their own or made by geometry nodes; without any, the active one.

    Args:
        context: what is selected and active.
        selection_only: if false, all visible ones of the view layer.
    """
    active = objects.active_splats(context) or context.object
    for items in (context.selected_objects, [active]) if selection_only else (context.visible_objects,):
        if found := [item for item in items if objects.is_splat_object(item) or native.made_by_nodes(item)]:
            return found
    return []


def stored(scene: bpy.types.Scene, item: bpy.types.Object, *, apply_transform: bool = True) -> SplatArrays:
    """The Gaussians that `item` stores, without modifiers and edits.

    Raises:
        FaceLiftError: it stores none.
    """
    if not objects.is_splat_object(item):
        raise FaceLiftError(f"The splats of “{item.name}” are made by its modifiers; export with Apply Modifiers.")
    splats = attributes.read(item.data)
    return transforms.transform(splats, np.array(item.matrix_world)) if apply_transform else splats


def edited(scene: bpy.types.Scene, item: bpy.types.Object, *, apply_transform: bool = True) -> SplatArrays:
    """The Gaussians of `item` as rendered at the current frame, with all modifiers, edits and its transform applied.

    Raises:
        FaceLiftError: the modifiers do not output a point cloud.
    """
    with _evaluated(scene, item) as (cloud, matrix):
        splats = attributes.read(cloud) if len(cloud.points) else attributes.nothing()
    return transforms.transform(splats, matrix) if apply_transform and len(splats) else splats


def edited_surface(scene: bpy.types.Scene, item: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """Normals in world space, (N, 3), and albedo, (N, 4), of what :func:`edited` gives; zeros where unknown.

    Raises:
        FaceLiftError: the modifiers do not output a point cloud.
    """
    with _evaluated(scene, item) as (cloud, matrix):
        known = attributes.NORMAL in cloud.attributes and attributes.ALBEDO in cloud.attributes
        if not known:
            return np.zeros((len(cloud.points), 3), np.float32), np.zeros((len(cloud.points), 4), np.float32)
        normals = attributes.get_values(cloud, attributes.NORMAL, 3)
        return attributes.turned_normals(normals, matrix[:3, :3]), attributes.get_values(cloud, attributes.ALBEDO, 4)


@contextmanager
def _evaluated(scene: bpy.types.Scene, item: bpy.types.Object) -> Iterator[tuple[bpy.types.PointCloud, np.ndarray]]:
    """The point cloud that `item` renders at the current frame, valid in this block, and its (4, 4) world matrix."""
    # Evaluates a copy in a separate scene, so that the user's data is neither changed nor evaluated again.
    other = bpy.data.scenes.new("Export")
    copy = item.copy()
    try:
        other.frame_current = scene.frame_current
        other.collection.objects.link(copy)
        if modifier := nodes.find_modifier(copy):
            modifier.show_viewport = modifier.show_render
            nodes.set_input(modifier, "Viewport As", nodes.POINTS)
            nodes.set_input(modifier, "Viewport Amount", nodes.get_input(modifier, "Render Amount"))
        layer = other.view_layers[0]
        layer.update()
        evaluated = copy.evaluated_get(layer.depsgraph)
        cloud, matrix = evaluated.data, np.array(evaluated.matrix_world)
        if not isinstance(cloud, bpy.types.PointCloud) and native.made_by_nodes(copy):
            geometry = evaluated.evaluated_geometry()  # owns the point cloud
            cloud = geometry.pointcloud
        if not isinstance(cloud, bpy.types.PointCloud):
            raise FaceLiftError(f"The modifiers of “{item.name}” leave no splats to export.")
        yield cloud, matrix
    finally:
        bpy.data.objects.remove(copy)
        bpy.data.scenes.remove(other)
