"""Make Mesh with the real worker, and what is inserted into the scene."""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
import numpy as np
from common import PACKAGE, case, error_of, finish, install, timer

HEAD = os.environ["TEST_HEAD"]
FOLDER = Path(tempfile.mkdtemp())


def values(collection, name: str, width: int) -> np.ndarray:
    found = np.empty(len(collection) * width, np.float32)
    collection.foreach_get(name, found)
    return found.reshape(-1, width)


def refused(path: Path) -> str:
    try:
        mesh_data.load_mesh(path, "Bad")
    except mesh_data.FaceLiftError as error:
        return str(error)
    raise AssertionError(f"{path} was accepted")


install()
mesh_data = import_module(f"{PACKAGE}.mesh.mesh_data")
making = import_module(f"{PACKAGE}.mesh.making")
bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=False)

with case("a mesh is a child at the same place, closed, with its texture in the file"):
    assert not bpy.ops.facelift.make_mesh.poll()
    assert bpy.ops.facelift.import_splats(filepath=HEAD) == {"FINISHED"}
    head = bpy.context.object
    head.location, head.rotation_euler, head.scale = (1, 2, 3), (0.1, 0.2, 0.3), (0.5, 0.5, 0.5)
    assert bpy.ops.facelift.make_mesh(faces=2000, texture="1024") == {"FINISHED"}
    bpy.context.view_layer.update()
    made = head["facelift_mesh"]
    assert made.parent == head and np.allclose(made.matrix_world, head.matrix_world, atol=1e-6)
    assert made.users_collection == head.users_collection and bpy.context.object == head
    data = made.data
    assert 500 < len(data.polygons) <= 2000
    assert len(data.edges) * 2 == len(data.polygons) * 3, "closed"
    assert all(polygon.use_smooth for polygon in data.polygons)
    places = values(data.vertices, "co", 3)
    assert np.abs(np.abs(places).max(0) - [0.45, 0.5, 0.6]).max() < 0.05, np.abs(places).max(0)
    centers, normals = values(data.polygons, "center", 3), values(data.polygons, "normal", 3)
    assert ((centers * normals).sum(1) > 0).mean() > 0.99, "outward"
    image = next(node.image for node in data.materials[0].node_tree.nodes if node.type == "TEX_IMAGE")
    assert image.packed_file and tuple(image.size) == (1024, 1024)
    pixels = np.empty(1024 * 1024 * 4, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(1024, 1024, 4)
    front = int(np.argmin(places[:, 1] + 3 * (places[:, 0] ** 2 + places[:, 2] ** 2)))
    corner = next(loop.index for loop in data.loops if loop.vertex_index == front)
    u, v = data.uv_layers[0].data[corner].uv
    color = pixels[min(int(v * 1024), 1023), min(int(u * 1024), 1023)]
    assert np.abs(color[:3] - [0.9, 0.1, 0.1]).max() < 0.1, color

with case("it survives saving, and is updated in place"):
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "mesh.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "mesh.blend"))
    head = bpy.data.objects["head"]
    made = head["facelift_mesh"]
    count = len(bpy.data.objects)
    bpy.context.view_layer.objects.active = head
    assert bpy.ops.facelift.make_mesh(faces=1000, texture="1024", bottom="open") == {"FINISHED"}
    assert head["facelift_mesh"] == made and len(bpy.data.objects) == count and len(bpy.data.meshes) == 1
    assert len(made.data.polygons) <= 1000
    assert bpy.ops.facelift.make_mesh(faces=1500, texture="1024", quads=True) == {"FINISHED"}
    assert head["facelift_mesh"] == made and len(bpy.data.meshes) == 1
    assert 700 < len(made.data.polygons) <= 1500 and all(len(polygon.vertices) == 4 for polygon in made.data.polygons)
    places = values(made.data.vertices, "co", 3)
    front = int(np.argmin(places[:, 1] + 3 * (places[:, 0] ** 2 + places[:, 2] ** 2)))
    color = made.data.attributes["Color"].data[front].color_srgb
    assert np.abs(np.array(color[:3]) - [0.9, 0.1, 0.1]).max() < 0.15, tuple(color)
    bpy.data.objects.remove(made)
    assert making.mesh_of(head) is None
    assert bpy.ops.facelift.make_mesh(faces=1000, texture="1024") == {"FINISHED"}
    assert making.mesh_of(head) is not None

with case("shadows: dark on the floor, nothing else in the picture"):
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 4, False
    scene.cycles.transparent_max_bounces = 64
    scene.render.resolution_x = scene.render.resolution_y = 48
    scene.render.image_settings.file_format = "PNG"
    scene.view_settings.view_transform = "Standard"
    lamp = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    lamp.data.energy = 3.0
    floor_data = bpy.data.meshes.new("Floor")
    floor_data.from_pydata([(-4, -4, 0), (4, -4, 0), (4, 4, 0), (-4, 4, 0)], [], [(0, 1, 2, 3)])
    floor = bpy.data.objects.new("Floor", floor_data)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.location, camera.rotation_euler = (0, -6, 6), (np.pi / 4, 0, 0)
    for item in (lamp, floor, camera):
        scene.collection.objects.link(item)
    scene.camera = camera
    head.location, head.rotation_euler, head.scale = (0, 0, 1), (0, 0, 0), (1, 1, 1)
    making.mesh_of(head).hide_render = True

    def light() -> np.ndarray:
        scene.render.filepath = str(FOLDER / "light.png")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        found = np.empty(48 * 48 * 4, np.float32)
        image.pixels.foreach_get(found)
        bpy.data.images.remove(image)
        return found.reshape(48, 48, 4)[..., 1]

    head.visible_shadow = False
    before = light()
    head.visible_shadow = True
    assert bpy.ops.facelift.cast_shadows() == {"FINISHED"}
    proxy = head["facelift_proxy"]
    assert proxy.parent == head and proxy.data == making.mesh_of(head).data and not head.visible_shadow
    after = light()
    darker = after < before - 0.3
    # The sun is at the zenith: the shadow lies below the head, which hides a part of it.
    assert 15 < darker.sum() < 250, darker.sum()
    assert np.abs(after - before)[~darker].max() < 0.3 and np.abs(after - before)[~darker].mean() < 0.02
    count = len(bpy.data.meshes)
    assert bpy.ops.facelift.make_mesh(faces=1000, texture="1024") == {"FINISHED"}
    assert proxy.data == making.mesh_of(head).data and len(bpy.data.meshes) == count, "the shadow is updated, too"
    assert bpy.ops.facelift.cast_shadows(on=False) == {"FINISHED"}
    assert "facelift_proxy" not in head and head.visible_shadow
    bpy.data.objects.remove(making.mesh_of(head))
    assert bpy.ops.facelift.cast_shadows() == {"FINISHED"}
    assert making.mesh_of(head).hide_render and head["facelift_proxy"].data == making.mesh_of(head).data

with case("no files are left behind"):
    jobs = import_module(f"{PACKAGE}.head_jobs")
    assert not any((jobs.folders.cache_folder() / jobs.FOLDER).iterdir())

with case("what cannot be done is told in a sentence"):
    for name, content in (("empty.npz", b""), ("text.npz", b"not a mesh")):
        (FOLDER / name).write_bytes(content)
        assert "make it again" in refused(FOLDER / name)
    assert "make it again" in refused(FOLDER / "missing.npz")
    corners = np.eye(3, dtype=np.float32)
    good = {"vertices": corners, "normals": corners, "faces": np.array([[0, 1, 2]]), "uvs": corners[:, :2]}
    good |= {"uv_faces": np.array([[0, 1, 2]]), "texture": np.zeros((2, 2, 3), np.uint8)}
    np.savez(FOLDER / "good.npz", **good)
    assert len(mesh_data.load_mesh(FOLDER / "good.npz", "Good").polygons) == 1
    for key, value in (("faces", [[0, 1, 3]]), ("uv_faces", [[-1, 0, 1]]), ("normals", np.zeros((2, 3)))):
        np.savez(FOLDER / "bad.npz", **{**good, key: np.array(value)})
        assert "damaged" in refused(FOLDER / "bad.npz"), key
    cloud = bpy.context.view_layer.objects.active
    modifier = cloud.modifiers[0]
    import_module(f"{PACKAGE}.splats.nodes").set_input(modifier, "Minimum Opacity", 1.0)
    assert "no visible splats" in error_of(bpy.ops.facelift.make_mesh)

assert not timer().jobs.active()
finish()
