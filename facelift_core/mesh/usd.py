"""A mesh with its texture as USD, by ``usd-core``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..files import replacing
from ..gaussians import usd_stage
from ..gaussians.damage import needed

if TYPE_CHECKING:
    from .head_mesh import HeadMesh

ROUGHNESS = 0.6


def write(mesh: HeadMesh, path: Path) -> None:
    """Write `mesh` atomically to a .usd, .usda or .usdc file, with Z up, and its texture to a .png beside it.

    Raises:
        FaceLiftError: a file cannot be written, or this Python lacks ``usd-core``.
    """
    from PIL import Image

    geom, shade, sdf = (needed(path, f"pxr.{name}") for name in ("UsdGeom", "UsdShade", "Sdf"))
    picture = path.with_suffix(".png")
    stage = usd_stage.create(path)
    root = geom.Xform.Define(stage, "/Head")
    stage.SetDefaultPrim(root.GetPrim())
    surface = _surface(geom.Mesh.Define(stage, "/Head/Surface"), mesh, geom, sdf, needed(path, "pxr.Vt"))
    material = _material(stage, picture.name, shade, sdf)
    shade.MaterialBindingAPI.Apply(surface.GetPrim()).Bind(material)
    encoded = io.BytesIO()
    Image.fromarray(mesh.texture).save(encoded, "png")
    with replacing(picture) as temporary:
        temporary.write_bytes(encoded.getvalue())
    usd_stage.write(stage, path)


def _surface(surface, mesh: HeadMesh, geom, sdf, vt):
    surface.CreatePointsAttr(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(mesh.vertices, np.float32)))
    surface.CreateFaceVertexCountsAttr(vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, np.int32)))
    surface.CreateFaceVertexIndicesAttr(vt.IntArray.FromNumpy(np.ascontiguousarray(mesh.faces, np.int32).ravel()))
    surface.CreateNormalsAttr(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(mesh.normals, np.float32)))
    surface.SetNormalsInterpolation(geom.Tokens.vertex)
    surface.CreateSubdivisionSchemeAttr(geom.Tokens.none)
    bounds = np.stack([mesh.vertices.min(0), mesh.vertices.max(0)]).astype(np.float32)
    surface.CreateExtentAttr(vt.Vec3fArray.FromNumpy(bounds))
    kind = sdf.ValueTypeNames.TexCoord2fArray
    coordinates = geom.PrimvarsAPI(surface).CreatePrimvar("st", kind, geom.Tokens.faceVarying)
    coordinates.Set(vt.Vec2fArray.FromNumpy(np.ascontiguousarray(mesh.uvs, np.float32)))
    coordinates.SetIndices(vt.IntArray.FromNumpy(np.ascontiguousarray(mesh.uv_faces, np.int32).ravel()))
    return surface


def _material(stage, picture: str, shade, sdf):
    """A preview surface with the texture, as every reader of USD knows it."""
    types = sdf.ValueTypeNames
    material = shade.Material.Define(stage, "/Head/Material")

    def shader(name: str, kind: str, **inputs):
        made = shade.Shader.Define(stage, f"/Head/Material/{name}")
        made.CreateIdAttr(kind)
        for key, (value_type, value) in inputs.items():
            made.CreateInput(key, value_type).Set(value)
        return made

    coordinates = shader("Coordinates", "UsdPrimvarReader_float2", varname=(types.String, "st"))
    file = {"file": (types.Asset, f"./{picture}"), "sourceColorSpace": (types.Token, "sRGB")}
    texture = shader("Texture", "UsdUVTexture", **file)
    texture.CreateInput("st", types.Float2).ConnectToSource(coordinates.CreateOutput("result", types.Float2))
    look = shader("Surface", "UsdPreviewSurface", roughness=(types.Float, ROUGHNESS), metallic=(types.Float, 0.0))
    look.CreateInput("diffuseColor", types.Color3f).ConnectToSource(texture.CreateOutput("rgb", types.Float3))
    material.CreateSurfaceOutput().ConnectToSource(look.CreateOutput("surface", types.Token))
    return material
