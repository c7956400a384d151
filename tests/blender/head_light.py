"""Light: Baked, Mix, Scene with the real worker, and what it leaves in the file."""

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

sys.path.insert(0, os.environ["TEST_SCRIPTS"])

import bpy
import numpy as np
from common import PACKAGE, case, error_of, finish, install, timer

FOLDER = Path(tempfile.mkdtemp())

install()
nodes = import_module(f"{PACKAGE}.splats.nodes")
attributes = import_module(f"{PACKAGE}.splats.attributes")
reflectance = import_module(f"{PACKAGE}.light.reflectance")
scene_light = import_module(f"{PACKAGE}.light.scene_light")
bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=False)

with case("the scene's light: normals, albedo, and a mesh for the shadows"):
    assert not bpy.ops.facelift.light.poll()
    assert bpy.ops.facelift.import_splats(filepath=os.environ["TEST_HEAD"]) == {"FINISHED"}
    head = bpy.context.object
    head.location, head.rotation_euler, head.scale = (1, 2, 3), (0.1, 0.2, 0.3), (0.5, 0.5, 0.5)
    assert scene_light.scene_light_of(head) == 0 and head.visible_diffuse
    assert bpy.ops.facelift.light(light="SCENE") == {"FINISHED"}
    assert scene_light.scene_light_of(head) == 1
    normals = attributes.get_values(head.data, attributes.NORMAL, 3)
    places = attributes.get_values(head.data, attributes.POSITION, 3)
    outward = (normals * places).sum(1) / np.linalg.norm(places, axis=1)
    assert np.median(outward) > 0.95, "in the head's own space, outward"
    proxy = head["facelift_proxy"]
    assert proxy.parent == head and proxy.visible_diffuse and not head.visible_diffuse and not head.visible_shadow
    assert head["facelift_mesh"].hide_render

with case("Baked and Mix change at once, without another job"):
    assert bpy.ops.facelift.light(light="BAKED") == {"FINISHED"}
    assert scene_light.scene_light_of(head) == 0 and head.visible_diffuse and not proxy.visible_diffuse
    assert bpy.ops.facelift.light(light="MIX") == {"FINISHED"}
    assert scene_light.scene_light_of(head) == 0.5 and not timer().jobs.active()

with case("it is all in the file"):
    bpy.ops.wm.save_as_mainfile(filepath=str(FOLDER / "light.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(FOLDER / "light.blend"))
    head = bpy.data.objects["head"]
    modifier = nodes.find_modifier(head)
    assert scene_light.scene_light_of(head) == 0.5 and reflectance.has_reflectance(head)
    assert nodes.get_input(modifier, "Lit Material") and nodes.get_input(modifier, "Lit Viewport Material")
    bpy.context.view_layer.objects.active = head
    assert bpy.ops.facelift.export_splats(filepath=str(FOLDER / "out.ply")) == {"FINISHED"}

with case("no files are left behind"):
    jobs = import_module(f"{PACKAGE}.head_jobs")
    assert not any((jobs.folders.cache_folder() / jobs.FOLDER).iterdir())

with case("what cannot be done is told in a sentence, and changes nothing"):
    for name in (attributes.NORMAL, attributes.ALBEDO):
        head.data.attributes.remove(head.data.attributes[name])
    colors = attributes.get_values(head.data, attributes.BASE, 4)
    colors[:, :3] = -2.0  # black
    attributes.set_values(head.data, attributes.BASE, colors)
    assert "No skin" in error_of(bpy.ops.facelift.light)
    assert not reflectance.has_reflectance(head)
    for content in (b"", b"not an archive"):
        (FOLDER / "bad.npz").write_bytes(content)
        try:
            reflectance.store_reflectance(FOLDER / "bad.npz", head.data)
        except reflectance.FaceLiftError as error:
            assert "choose Scene again" in str(error)
        else:
            raise AssertionError("accepted")
    count = len(head.data.points) - 1
    np.savez(FOLDER / "bad.npz", normals=np.zeros((count, 3)), albedo=np.zeros((count, 3)))
    try:
        reflectance.store_reflectance(FOLDER / "bad.npz", head.data)
    except reflectance.FaceLiftError as error:
        assert "has changed" in str(error)
    else:
        raise AssertionError("accepted")

assert not timer().jobs.active()
finish()
