"""A Blender mesh with texture coordinates, normals, and a material, from the file that the worker writes."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from facelift_core import FaceLiftError

from .quads import COLOR, as_quads

ROUGHNESS = 0.6
_WIDTHS = {"vertices": 3, "normals": 3, "faces": 3, "uvs": 2, "uv_faces": 3}


def load_mesh(path: Path, name: str, quads: int = 0) -> bpy.types.Mesh:
    """Create the mesh of a file of :mod:`facelift_core.mesh.files`, with its texture packed into the .blend.

    Args:
        quads: if not 0, the largest number of quads, which take the place of the triangles and of the texture.

    Raises:
        FaceLiftError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in (*_WIDTHS, "texture")}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise FaceLiftError(f"The mesh in {path} cannot be read; make it again.") from error
    _check(arrays, path)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(arrays["vertices"], [], arrays["faces"].tolist())
    mesh.uv_layers.new(name="UVMap")
    mesh.uv_layers[0].data.foreach_set("uv", arrays["uvs"][arrays["uv_faces"]].astype(np.float32).ravel())
    mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
    mesh.normals_split_custom_set_from_vertices(arrays["normals"].tolist())
    mesh.update()
    if quads:
        triangles, mesh = mesh, as_quads(mesh, arrays["texture"], quads)
        bpy.data.meshes.remove(triangles)
        mesh.name = name
    mesh.materials.append(_material(name, None if quads else _image(arrays["texture"], name)))
    return mesh


def _check(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise FaceLiftError unless the arrays fit together."""
    fits = all(arrays[key].ndim == 2 and arrays[key].shape[1] == width for key, width in _WIDTHS.items())
    fits = (
        fits and len(arrays["normals"]) == len(arrays["vertices"]) and len(arrays["faces"]) == len(arrays["uv_faces"])
    )
    fits = fits and arrays["texture"].ndim == 3 and arrays["texture"].shape[2] == 3
    fits = fits and arrays["texture"].dtype == np.uint8 and len(arrays["faces"]) > 0
    for key, of in (("faces", "vertices"), ("uv_faces", "uvs")):
        fits = fits and arrays[key].min() >= 0 and arrays[key].max() < len(arrays[of])
    if not fits:
        raise FaceLiftError(f"The mesh in {path} is damaged; make it again.")


def _image(texture: np.ndarray, name: str) -> bpy.types.Image:
    height, width = texture.shape[:2]
    image = bpy.data.images.new(f"{name} texture", width, height, alpha=False)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = texture[::-1] / np.float32(255)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image


def _material(name: str, image: bpy.types.Image | None) -> bpy.types.Material:
    """With the image as its color, else with that of the vertices."""
    material = bpy.data.materials.new(name)
    if material.node_tree is None:  # always there from Blender 5.0
        material.use_nodes = True
    nodes = material.node_tree.nodes
    nodes.clear()
    texture = nodes.new("ShaderNodeTexImage" if image else "ShaderNodeVertexColor")
    if image:
        texture.image = image
    else:
        texture.layer_name = COLOR
    surface = nodes.new("ShaderNodeBsdfPrincipled")
    surface.inputs["Roughness"].default_value = ROUGHNESS
    output = nodes.new("ShaderNodeOutputMaterial")
    texture.location, output.location = (-300, 0), (300, 0)
    material.node_tree.links.new(texture.outputs["Color"], surface.inputs["Base Color"])
    material.node_tree.links.new(surface.outputs[0], output.inputs[0])
    return material
