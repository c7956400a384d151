"""Write a mesh with its texture to files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FaceLiftError
from ..files import replacing

if TYPE_CHECKING:
    from .head_mesh import HeadMesh

USD = (".usd", ".usda", ".usdc")
SUFFIXES = (".glb", ".obj", ".stl", *USD, ".npz")
TO_Y_UP = ((1, 0, 0), (0, 0, 1), (0, -1, 0))
"""From Z up to Y up, facing +Z: what .glb and .obj files are in."""


def check_suffix(path: Path) -> None:
    """Raise FaceLiftError if `path` does not end with one of :data:`SUFFIXES`."""
    if path.suffix.lower() not in SUFFIXES:
        raise FaceLiftError(f"{path}: “{path.suffix}” is not a format for meshes; use {', '.join(SUFFIXES)}.")


def write(mesh: HeadMesh, path: str | Path) -> None:
    """Write `mesh` atomically, in the format of the suffix.

    ``.glb`` contains the texture; ``.obj`` has a ``.mtl`` and a ``.png`` of the same name beside it, ``.usd``,
    ``.usda`` and ``.usdc`` a ``.png``; ``.stl`` has neither texture nor seams; ``.npz`` holds the arrays of
    :class:`.head_mesh.HeadMesh`. Y is up in ``.glb`` and ``.obj``, as these formats have it, Z in the others.

    Raises:
        FaceLiftError: the suffix is unknown, or a file cannot be written.
    """
    path = Path(path)
    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        import numpy as np

        with replacing(path) as temporary:
            np.savez(temporary, **vars(mesh))
        return
    if suffix in USD:
        from . import usd

        return usd.write(mesh, path)
    for name, data in _files(mesh, path).items():
        with replacing(path.with_name(name)) as temporary:
            temporary.write_bytes(data)


def _files(mesh: HeadMesh, path: Path) -> dict[str, bytes]:
    """The content of each file by its name, `path` last."""
    import numpy as np
    import trimesh
    from PIL import Image

    if path.suffix.lower() == ".stl":
        return {path.name: trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).export(file_type="stl")}
    of, turn = mesh.vertex_of_uv, np.array(TO_Y_UP, np.float32).T
    material = trimesh.visual.material.PBRMaterial(
        name=path.stem, baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=0.6
    )
    if path.suffix.lower() == ".obj":
        material = trimesh.visual.material.SimpleMaterial(image=Image.fromarray(mesh.texture))
        material.name = path.stem.replace(" ", "_")
    solid = trimesh.Trimesh(
        mesh.vertices[of] @ turn,
        mesh.uv_faces,
        vertex_normals=mesh.normals[of] @ turn,
        visual=trimesh.visual.TextureVisuals(uv=mesh.uvs, material=material),
        process=False,
    )
    if path.suffix.lower() == ".glb":
        return {path.name: solid.export(file_type="glb", include_normals=True)}
    from trimesh.exchange.obj import export_obj

    library = f"{path.stem.replace(' ', '_')}.mtl"
    text, others = export_obj(solid, include_normals=True, return_texture=True, mtl_name=library)
    return {**others, path.name: text.encode("utf-8")}
