"""The color of a head's skin near the neck, and materials of meshes that are moved to it."""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np
from facelift_core import FaceLiftError

from ..splats import attributes, objects

NODE = "FaceLift Match Skin"
OPAQUE = 0.5
FACE_WIDTH, FACE_LOW, FACE_HIGH = 0.15, 0.25, 0.6
"""The middle of the face: half its width, and from where to where in height, in heights of the head."""
FRONT = 0.15
"""The share of the Gaussians there that is nearest to the front."""
CHROMA = 0.25
"""Largest distance of skin from the face's median color, as natural logarithms of the ratios of its channels."""
LOWEST = 0.25
"""The share of the skin in front that is nearest to the neck."""
FEWEST = 20
LEAST, MOST = 0.05, 20.0
"""Of gains: what lies beyond is no skin."""
PIXELS = 100_000
"""Of a texture, are enough for its median color."""


def match_skin(head: bpy.types.Object, meshes: Sequence[bpy.types.Object]) -> int:
    """Multiply the base colors of the materials of `meshes` so that their skin has the color of the head's.

    A node in front of each Base Color does it; another call sets it anew. Returns the number of materials.

    Raises:
        FaceLiftError: there is no mesh, no material with a Principled BSDF, or no skin on the head.
    """
    if not meshes:
        raise FaceLiftError("Select the body as well: first the mesh, then the head.")
    wanted = skin_of(head)
    surfaces = {}
    for mesh in meshes:
        for slot in mesh.material_slots:
            if slot.material is not None and (shader := _principled(slot.material)) is not None:
                surfaces[slot.material] = shader
    if not surfaces:
        raise FaceLiftError("The mesh has no material with a Principled BSDF, whose Base Color could be matched.")
    if fixed := [material.name for material in surfaces if material.library]:
        raise FaceLiftError(f"“{fixed[0]}” is linked from another file; make it local first.")
    colors = [_color_of(_unmatched(shader)) for shader in surfaces.values()]  # all of them, before anything changes
    for (material, shader), color in zip(surfaces.items(), colors, strict=True):
        _multiply(material.node_tree, shader, wanted / np.maximum(color, 1e-3))
    return len(surfaces)


def skin_of(head: bpy.types.Object) -> np.ndarray:
    """(3,) linear color of the head's skin near the neck: the albedo where it is known, else as in the photo.

    The head's own axes are those of a new head: Z up, facing −Y.

    Raises:
        FaceLiftError: there is no face in front.
    """
    cloud = head.data
    places = attributes.get_values(cloud, attributes.POSITION, 3)
    known = attributes.ALBEDO in cloud.attributes
    name = attributes.ALBEDO if known else attributes.COLOR
    if name not in cloud.attributes:
        raise FaceLiftError(f"“{head.name}” has no colors of its own to match.")
    colors = attributes.get_values(cloud, name, 4)[:, :3]
    opaque = (attributes.get_values(cloud, attributes.BASE, 4)[:, 3] > OPAQUE) & (colors.min(axis=1) > 1e-3)
    low, high = objects.bounds(places, share=0.99)
    height = max(high[2] - low[2], 1e-9)
    away = np.abs(places[:, 0] - 0.5 * (low[0] + high[0])) / height
    level = (places[:, 2] - low[2]) / height
    face = opaque & (away < FACE_WIDTH) & (level > FACE_LOW) & (level < FACE_HIGH)
    if face.sum() < FEWEST:
        raise FaceLiftError(f"No face was found on “{head.name}”.")
    front = np.quantile(places[face, 1], FRONT)
    chroma = np.log(colors.clip(1e-4))
    chroma = chroma - chroma.mean(axis=1, keepdims=True)
    typical = np.median(chroma[face & (places[:, 1] <= front)], axis=0)
    skin = opaque & (away < FACE_WIDTH) & (places[:, 1] <= 0.5 * (low[1] + high[1]))
    skin &= (level < FACE_HIGH) & (np.abs(chroma - typical).max(axis=1) < CHROMA)
    if skin.sum() < FEWEST:
        raise FaceLiftError(f"No skin was found on “{head.name}”.")
    lowest = skin & (level <= np.quantile(level[skin], LOWEST))
    return np.median(colors[lowest], axis=0)


def _principled(material: bpy.types.Material) -> bpy.types.Node | None:
    if material.node_tree is None:
        return None
    return next((node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED"), None)


def _node_of(shader: bpy.types.Node) -> bpy.types.Node | None:
    links = shader.inputs["Base Color"].links
    node = links[0].from_node if links else None
    return node if node is not None and node.name.split(".")[0] == NODE else None


def _unmatched(shader: bpy.types.Node) -> bpy.types.NodeSocket:
    """The socket with the color that the shader has without the node."""
    node = _node_of(shader)
    return shader.inputs["Base Color"] if node is None else _input(node, "A")


def _multiply(tree: bpy.types.NodeTree, shader: bpy.types.Node, gain: np.ndarray) -> None:
    """Multiply the shader's Base Color by `gain`, (3,), in place of an earlier one."""
    node = _node_of(shader)
    if node is None:
        base = shader.inputs["Base Color"]
        before = base.links[0].from_socket if base.links else None
        node = tree.nodes.new("ShaderNodeMix")
        node.name = node.label = NODE
        node.data_type, node.blend_type, node.clamp_result = "RGBA", "MULTIPLY", False
        node.location = (shader.location.x - 200, shader.location.y)
        _input(node, "Factor").default_value = 1.0
        if before is None:
            _input(node, "A").default_value = base.default_value
        else:
            tree.links.new(before, _input(node, "A"))
        tree.links.new(next(socket for socket in node.outputs if socket.enabled), base)
    _input(node, "B").default_value = (*gain.clip(LEAST, MOST).tolist(), 1.0)


def _input(node: bpy.types.Node, name: str) -> bpy.types.NodeSocket:
    return next(socket for socket in node.inputs if socket.name == name and socket.enabled)


def _color_of(socket: bpy.types.NodeSocket) -> np.ndarray:
    """(3,) linear: the socket's own color, or the median of the texture that feeds it.

    Raises:
        FaceLiftError: what feeds it is no texture.
    """
    if not socket.links:
        return np.array(socket.default_value[:3])
    source = socket.links[0].from_node
    while source.type == "REROUTE" and source.inputs[0].links:
        source = source.inputs[0].links[0].from_node
    image = source.image if source.type == "TEX_IMAGE" else None
    if image is None or not image.size[0]:
        raise FaceLiftError("The body's Base Color comes from nodes, not from a texture; bake it to a texture first.")
    pixels = np.empty(image.size[0] * image.size[1] * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(-1, image.channels)
    pixels = pixels[:: max(1, len(pixels) // PIXELS)]
    shown = pixels[pixels[:, 3] > OPAQUE] if image.channels == 4 else pixels
    shown = shown[shown[:, :3].max(axis=1) > 0.02][:, :3] if image.channels >= 3 else np.repeat(shown[:, :1], 3, 1)
    if not len(shown):
        raise FaceLiftError(f"The texture “{image.name}” is empty.")
    median = np.median(shown, axis=0)
    is_linear = image.is_float or image.colorspace_settings.name in ("Non-Color", "Linear Rec.709")
    return median if is_linear else attributes.to_linear(median)
