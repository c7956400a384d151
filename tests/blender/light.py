"""Splats in the scene's light: a ball of splats beside a mesh ball, in Cycles, in one process.

python tests/blender/light.py FOLDER
"""

import math

import bpy
import numpy as np
from from_source import empty_file, run_tests
from mathutils import Matrix
from pictures import different, new_scene, picture, same

from facelift_blender.splats import attributes, editing, following, material, nodes, objects

ALBEDO = (0.6, 0.3, 0.15)
COUNT = 3000
UNEVEN = Matrix.Rotation(0.7, 4, "Z") @ Matrix.Diagonal((1.1, 0.7, 0.9, 1.0))
RIM = hasattr(bpy.types, "GeometryNodeSetMeshNormal")
"""Whether light from behind reaches quads that face the camera: from Blender 4.5 on."""


def ball_of_splats() -> tuple[attributes.SplatArrays, np.ndarray]:
    """Flat opaque splats on the unit sphere, gray, and their normals."""
    number = np.arange(COUNT) + 0.5
    polar, turn = np.arccos(1 - 2 * number / COUNT), np.pi * (1 + 5**0.5) * number
    unit = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1).astype(np.float32)
    rotation = np.column_stack([1 + unit[:, 2], -unit[:, 1], unit[:, 0], np.zeros(COUNT)])  # takes Z to the normal
    rotation /= np.linalg.norm(rotation, axis=1, keepdims=True)
    size = math.sqrt(4 * math.pi / COUNT) * np.array([0.7, 0.7, 0.05])
    splats = attributes.SplatArrays(
        unit,
        np.zeros((COUNT, 1, 3), np.float32),
        np.tile(np.log(size), (COUNT, 1)).astype(np.float32),
        rotation.astype(np.float32),
        np.full(COUNT, 4.0, np.float32),
    )
    return splats, unit


def ball(amount=1.0, known=True, mode=nodes.CAMERA_FACING) -> bpy.types.Object:
    splats, normals = ball_of_splats()
    item = objects.create_splat_object(bpy.context, splats, "Ball")
    bpy.context.view_layer.objects.active = item
    if known:
        attributes.write_surface(item.data, normals, np.tile(np.float32([*ALBEDO, 1]), (COUNT, 1)))
    modifier = nodes.find_modifier(item)
    nodes.set_input(modifier, "Render As", mode)
    nodes.add_lit_materials(modifier)
    nodes.set_input(modifier, "Scene Light", amount)
    item.visible_shadow = item.visible_diffuse = False
    return item


def mesh_ball() -> bpy.types.Object:
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=48)
    item = bpy.context.object
    item.data.polygons.foreach_set("use_smooth", [True] * len(item.data.polygons))
    surface = bpy.data.materials.new("Mesh")
    if surface.node_tree is None:
        surface.use_nodes = True
    tree = surface.node_tree
    tree.nodes.clear()
    diffuse, output = tree.nodes.new("ShaderNodeBsdfDiffuse"), tree.nodes.new("ShaderNodeOutputMaterial")
    diffuse.inputs["Color"].default_value = (*ALBEDO, 1)
    tree.links.new(diffuse.outputs[0], output.inputs[0])
    item.data.materials.append(surface)
    return item


def under_a_sun(azimuth: float, samples: int = 16) -> bpy.types.Scene:
    """A scene with a sun from that many degrees to the right of the camera, and nothing else."""
    scene = new_scene()
    scene.cycles.samples = samples
    lamp = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    lamp.data.energy, lamp.data.angle = 3.0, 0.02
    lamp.rotation_euler = (math.radians(70), 0, math.radians(azimuth))
    scene.collection.objects.link(lamp)
    return scene


def inside(found: np.ndarray, expected: np.ndarray) -> float:
    """PSNR where both pictures are opaque."""
    opaque = (found[..., 3] > 0.98) & (expected[..., 3] > 0.98)
    assert opaque.sum() > 300, opaque.sum()
    return -10 * math.log10(np.mean((found - expected)[opaque][:, :3] ** 2))


def test_lamps_act_as_on_a_mesh():
    for azimuth, least in ((0, 27), (60, 29), (120, 29 if RIM else 0)):
        for matrix in (Matrix(), UNEVEN):
            under_a_sun(azimuth)
            mesh_ball().matrix_world = matrix
            expected = picture()
            under_a_sun(azimuth)
            ball().matrix_world = matrix
            ratio = inside(picture(), expected)
            print(f"   sun at {azimuth}°: {ratio:.1f} dB", flush=True)
            assert ratio >= least


def test_baked_is_bit_for_bit_what_it_was():
    pictures = []
    for known, amount in ((False, 0.0), (True, 0.0), (False, 1.0)):
        under_a_sun(60, samples=1)
        item = ball(amount, known)
        item.visible_diffuse = True
        pictures.append(picture())
    assert pictures[0][..., 3].max() > 0.9
    assert all(np.array_equal(pictures[0], other) for other in pictures[1:])


def test_amounts_in_between_mix_and_can_be_animated():
    under_a_sun(0)
    item = ball(0.0)
    modifier = nodes.find_modifier(item)
    baked = picture()
    nodes.set_input(modifier, "Scene Light", 1.0)
    lit = picture()
    nodes.set_input(modifier, "Scene Light", 0.5)
    same(picture(), 0.5 * (baked + lit), 30)
    different(baked, lit)
    nodes.set_input(modifier, "Scene Light", 0.0)
    assert np.array_equal(picture(), baked), "switching back"


def test_holdouts_cut_heads_out():
    for amount in (0.0, 1.0):
        under_a_sun(0, samples=4)
        item = ball(amount)
        assert picture()[32, 40, 3] > 0.95
        item.is_holdout = True
        bpy.ops.mesh.primitive_plane_add(size=20, location=(0, 3, 0), rotation=(math.pi / 2, 0, 0))
        cut = picture()
        assert cut[32, 40, 3] < 0.05 and cut[2, 2, 3] == 1


def test_colors_follow_tint_and_saturation():
    under_a_sun(0)
    item = ball()
    plain = picture()
    nodes.set_input(nodes.find_modifier(item), "Tint", (0.0, 1.0, 1.0, 1.0))
    tinted = picture()
    # What remains of red is the gloss.
    assert tinted[..., 0].max() < 0.2 * plain[..., 0].max() and tinted[..., 2].max() > 0.8 * plain[..., 2].max()


def test_points_that_are_seen_from_anywhere():
    under_a_sun(30)
    mesh_ball()
    expected = picture()
    under_a_sun(30)
    ball(mode=nodes.ANY_VIEW)
    ratio = inside(picture(), expected)
    print(f"   {ratio:.1f} dB", flush=True)
    assert ratio >= 22


def test_normals_follow_apply_transform_and_join():
    under_a_sun(60)
    item = ball()
    item.matrix_world = UNEVEN
    bpy.context.view_layer.update()
    before = picture()
    item.select_set(True)
    assert bpy.ops.object.transform_apply(location=True, rotation=True, scale=True) == {"FINISHED"}
    following.follow(item.data)
    same(picture(), before, 30)
    turned = attributes.get_values(item.data, attributes.NORMAL, 3)
    assert np.allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-4)
    other = ball(known=False)  # joined without normals, and stays as it was
    other.location.x, other.scale = 1.4, (0.4, 0.4, 0.4)
    nodes.set_input(nodes.find_modifier(other), "Tint", (0.2, 0.5, 0.2, 1.0))
    bpy.context.view_layer.update()
    before = picture()
    editing.join(bpy.context, item, [other])
    same(picture(), before, 30)
    joined = np.linalg.norm(attributes.get_values(item.data, attributes.NORMAL, 3), axis=1)
    assert np.allclose(joined[:COUNT], 1, atol=1e-4) and not joined[COUNT:].any()


def test_a_group_of_an_earlier_version_is_replaced_with_its_values():
    empty_file()
    item = ball(0.0)
    modifier = nodes.find_modifier(item)
    old = modifier.node_group
    nodes.set_input(modifier, "Saturation", 0.3)
    nodes.set_input(modifier, "Viewport As", nodes.POINTS)
    old[nodes.VERSION_KEY] = nodes.VERSION - 1
    for socket in [s for s in old.interface.items_tree if s.item_type == "SOCKET" and s.name in nodes.LIGHT]:
        old.interface.remove(socket)
    assert not nodes.has_input(modifier, "Scene Light")
    assert nodes.current(modifier) == modifier and modifier.node_group != old
    assert nodes.has_input(modifier, "Scene Light")
    assert math.isclose(nodes.get_input(modifier, "Saturation"), 0.3, rel_tol=1e-6)
    assert nodes.get_input(modifier, "Viewport As") == nodes.POINTS
    assert nodes.current(modifier).node_group == modifier.node_group
    known = {s.name: s.identifier for s in old.interface.items_tree if s.item_type == "SOCKET"}
    new = {s.name: s.identifier for s in modifier.node_group.interface.items_tree if s.item_type == "SOCKET"}
    assert all(new[name] == identifier for name, identifier in known.items()), "animations would point elsewhere"
    assert material.splat_material(lit=True) != material.splat_material()


run_tests(globals())
