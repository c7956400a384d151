"""Meshes of heads in the Blenders of FACELIFT_BPY_PYTHONS, made by the real worker."""

from blenders import needs_blender
from test_mesh import ball


@needs_blender
def test_make_mesh(blender, tmp_path):
    ball(16000).save(tmp_path / "head.ply")
    said = blender("mesh.py", TEST_HEAD=str(tmp_path / "head.ply"))
    assert "Traceback" not in said, said[-6000:]
