"""Heads on bodies: the neck as an attribute, and skin that is matched; in one process.

python tests/blender/body.py FOLDER
"""

import bpy
import numpy as np
from from_source import empty_file, refused, run_tests

from facelift_blender.body import neck, skin
from facelift_blender.splats import attributes, objects

SKIN = np.array([0.5, 0.3, 0.2])
"""Linear."""
COUNT = 4000


def head() -> bpy.types.Object:
    """An ellipsoid with skin in front, and hair above and behind."""
    number = np.arange(COUNT) + 0.5
    z, turn = 1 - 2 * number / COUNT, number * np.pi * (3 - 5**0.5)
    unit = np.stack([np.cos(turn) * np.sqrt(1 - z * z), np.sin(turn) * np.sqrt(1 - z * z), z], 1)
    colors = np.where((unit[:, 1:2] < -0.2) & (unit[:, 2:] < 0.3), SKIN, 0.02)
    sh = (attributes.to_displayed(colors) - 0.5) / 0.28209479177387814
    fields = (unit * [0.07, 0.09, 0.12], sh[:, None], np.full((COUNT, 3), -6.0), np.tile([1.0, 0, 0, 0], (COUNT, 1)))
    splats = attributes.SplatArrays(
        *(np.ascontiguousarray(values, np.float32) for values in fields), np.full(COUNT, 4.0, np.float32)
    )
    item = objects.create_splat_object(bpy.context, splats, "Head")
    bpy.context.view_layer.objects.active = item
    return item


def body(color=(0.8, 0.8, 0.8, 1.0), texture=None) -> bpy.types.Object:
    bpy.ops.mesh.primitive_cube_add()
    item = bpy.context.object
    surface = bpy.data.materials.new("Body")
    if surface.node_tree is None:
        surface.use_nodes = True
    base = surface.node_tree.nodes["Principled BSDF"].inputs["Base Color"]
    base.default_value = color
    if texture is not None:
        image = bpy.data.images.new("Texture", 8, 8)
        image.pixels.foreach_set(np.tile(np.float32([*texture, 1]), 64))
        node = surface.node_tree.nodes.new("ShaderNodeTexImage")
        node.image = image
        surface.node_tree.links.new(node.outputs["Color"], base)
    item.data.materials.append(surface)
    return item


def shown(item) -> np.ndarray:
    """What the matching node multiplies: its second input."""
    node = item.material_slots[0].material.node_tree.nodes[skin.NODE]
    assert node.outputs and any(link.to_socket.name == "Base Color" for o in node.outputs for link in o.links)
    return np.array(next(s for s in node.inputs if s.name == "B" and s.enabled).default_value[:3])


def test_the_neck_falls_off_upward():
    empty_file()
    item = head()
    neck.mark_neck(item)
    values = attributes.get_values(item.data, neck.NECK, 1)[:, 0]
    z = attributes.get_values(item.data, attributes.POSITION, 3)[:, 2]
    order = np.argsort(z)
    assert values[order[0]] == 1 and values[order[-1]] == 0 and (np.diff(values[order]) <= 0).all()
    assert 0.1 < (values > 0).mean() < 0.3


def test_materials_get_the_color_of_the_skin():
    empty_file()
    item = head()
    plain, textured = body((0.25, 0.6, 0.1, 1)), body(texture=(0.5, 0.5, 0.5))
    assert skin.match_skin(item, [plain, textured]) == 2
    assert np.allclose(shown(plain) * [0.25, 0.6, 0.1], SKIN, rtol=0.02), shown(plain)
    assert np.allclose(shown(textured) * attributes.to_linear(np.float64(0.5)), SKIN, rtol=0.05), shown(textured)
    nodes = len(plain.material_slots[0].material.node_tree.nodes)
    attributes.write_surface(
        item.data, np.zeros((COUNT, 3)), np.column_stack([np.tile(SKIN / 2, (COUNT, 1)), np.ones(COUNT)])
    )
    skin.match_skin(item, [plain])
    assert len(plain.material_slots[0].material.node_tree.nodes) == nodes, "the same node again"
    assert np.allclose(shown(plain) * [0.25, 0.6, 0.1], SKIN / 2, rtol=0.02), "the albedo, once it is known"


def test_refusals_are_sentences():
    empty_file()
    item, mesh = head(), body()
    refused(lambda: skin.match_skin(item, []), "Select the body")
    material = mesh.material_slots[0].material
    noise = material.node_tree.nodes.new("ShaderNodeTexNoise")
    material.node_tree.links.new(noise.outputs[1], material.node_tree.nodes["Principled BSDF"].inputs["Base Color"])
    before = len(material.node_tree.nodes)
    refused(lambda: skin.match_skin(item, [mesh]), "bake it")
    assert len(material.node_tree.nodes) == before, "a refusal changed the material"
    material.node_tree.nodes.remove(material.node_tree.nodes["Principled BSDF"])
    refused(lambda: skin.match_skin(item, [mesh]), "Principled BSDF")
    item.data.attributes.remove(item.data.attributes[attributes.COLOR])
    refused(lambda: skin.match_skin(item, [body()]), "no colors")


run_tests(globals())
