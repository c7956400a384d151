"""Gaussians as attributes of a Blender point cloud, named as Blender 5.3's own splats name them.

================  ============  =================================================================
``position``      FLOAT_VECTOR  object space
``scale``         FLOAT_VECTOR  standard deviations, linear
``rotation``      QUATERNION    w, x, y, z, normalised
``radiance:base`` FLOAT4        f_dc_0 to 2 and the opacity after the sigmoid; FLOAT_COLOR before Blender 5.2
``radiance:sh_k`` FLOAT_VECTOR  k = 0 to 14, red green blue; only as many as the degree needs
``Color``         FLOAT_COLOR   the view-independent color in linear light, for Solid mode and other node trees
``splat_rest``    FLOAT_VECTOR  the position that scale and rotation belong to, see :mod:`.following`
``normal``        FLOAT_VECTOR  unit, outward, object space; 0 where unknown. Only for the scene's light
``albedo``        FLOAT_COLOR   color without the photo's light, linear. Only for the scene's light
================  ============  =================================================================
"""

from __future__ import annotations

from collections.abc import Mapping

import bpy
import numpy as np
from facelift_core import FaceLiftError
from facelift_core.gaussians.files import SplatArrays
from facelift_core.gaussians.quantization import MAX_LOGIT

POSITION = "position"
SCALE = "scale"
ROTATION = "rotation"
BASE = "radiance:base"
COLOR = "Color"
REST = "splat_rest"
NORMAL = "normal"
ALBEDO = "albedo"
DELETED = "splat_deleted"
"""BOOLEAN, only where something was deleted: these Gaussians are left out of everything, and can be brought back."""
DRAWN = "splat_drawn"
"""BOOLEAN on evaluated points that the viewport's own drawing shows in place of the engine."""

_VALUE_NAMES = {
    **dict.fromkeys(("FLOAT", "BOOLEAN", "INT", "INT8", "INT16_2D", "INT32_2D", "QUATERNION", "FLOAT4X4"), "value"),
    "FLOAT_COLOR": "color",
    "BYTE_COLOR": "color",
}
"""Name of the value for ``foreach_get``; "vector" for the other types."""
_TYPES = {"BOOLEAN": bool, **dict.fromkeys(("INT", "INT8", "INT16_2D", "INT32_2D"), np.int32)}
"""Of values; float32 for the other types."""
_WIDTHS = {
    **dict.fromkeys(("FLOAT", "BOOLEAN", "INT", "INT8"), 1),
    **dict.fromkeys(("FLOAT2", "INT16_2D", "INT32_2D"), 2),
    "FLOAT_VECTOR": 3,
    **dict.fromkeys(("FLOAT_COLOR", "BYTE_COLOR", "QUATERNION", "FLOAT4"), 4),
    "FLOAT4X4": 16,
}
"""Numbers per value."""
_SMALLEST_SCALE = 1e-20


def sh_name(index: int) -> str:
    """Attribute of the spherical-harmonic features `index` = 0 to 14, those beyond the constant one."""
    return f"radiance:sh_{index}"


def base_type() -> str:
    """Type for ``radiance:base``: the four-component vector where this Blender has one."""
    types = bpy.types.AttributeGroupPointCloud if hasattr(bpy.types, "AttributeGroupPointCloud") else None
    types = types or bpy.types.AttributeGroup
    known = types.bl_rna.functions["new"].parameters["type"].enum_items.keys()
    return "FLOAT4" if "FLOAT4" in known else "FLOAT_COLOR"


def is_splats(item: bpy.types.ID | None) -> bool:
    """Whether `item` is an object, or a point cloud, with the attributes of Gaussians."""
    data = getattr(item, "data", item)
    if not isinstance(data, bpy.types.PointCloud):
        return False
    return all(name in data.attributes for name in (SCALE, ROTATION, BASE))


def sh_bases(cloud: bpy.types.PointCloud) -> int:
    """Spherical-harmonic features per color: 1, 4, 9 or 16."""
    found = next((k for k in range(15) if sh_name(k) not in cloud.attributes), 15)
    return max(bases for bases in (1, 4, 9, 16) if bases <= found + 1)


def write(cloud: bpy.types.PointCloud, splats: SplatArrays) -> None:
    """Store `splats` in `cloud`, which has as many points."""
    write_values(cloud, values_of(splats))


def write_values(cloud: bpy.types.PointCloud, values: Mapping[str, tuple[str, np.ndarray]]) -> None:
    """Store attributes of all points: name → (type, values)."""
    # All of them first: a reference held while another attribute is made points to freed memory before Blender 5.1.
    for name, (kind, _) in values.items():
        create(cloud, name, kind)
    for name, (_, array) in values.items():
        set_values(cloud, name, array)
    cloud.update_tag()


def values_of(splats: SplatArrays) -> dict[str, tuple[str, np.ndarray]]:
    """Type and float32 values of each attribute that stores `splats`. Does not touch Blender's data."""
    norm = np.linalg.norm(splats.rotations, axis=1, keepdims=True)
    rotations = np.where(norm > 0, splats.rotations / np.where(norm > 0, norm, 1), np.float32([1, 0, 0, 0]))
    with np.errstate(over="ignore", under="ignore"):
        opacities = 1 / (1 + np.exp(-splats.opacity_logits.astype(np.float64)))
        scales = np.exp(splats.log_scales)
    return {
        POSITION: ("FLOAT_VECTOR", splats.positions),
        SCALE: ("FLOAT_VECTOR", scales),
        ROTATION: ("QUATERNION", rotations),
        BASE: (base_type(), np.column_stack([splats.sh[:, 0], opacities])),
        **{sh_name(k): ("FLOAT_VECTOR", splats.sh[:, k + 1]) for k in range(splats.sh.shape[1] - 1)},
        REST: ("FLOAT_VECTOR", splats.positions),
        COLOR: ("FLOAT_COLOR", np.column_stack([to_linear(splats.colors), np.ones(len(splats))])),
    }


def write_surface(cloud: bpy.types.PointCloud, normals: np.ndarray, albedo: np.ndarray) -> None:
    """Store (N, 3) normals and (N, 4) albedo with all points."""
    write_values(cloud, {NORMAL: ("FLOAT_VECTOR", normals), ALBEDO: ("FLOAT_COLOR", albedo)})


def create(cloud: bpy.types.PointCloud, name: str, kind: str) -> None:
    """Add an attribute of points, unless there is one of that name."""
    if name not in cloud.attributes:
        cloud.attributes.new(name, kind, "POINT")


def read(cloud: bpy.types.PointCloud) -> SplatArrays:
    """The Gaussians of `cloud`, with infinite logits and logarithms limited.

    Raises:
        FaceLiftError: an attribute is missing.
    """
    missing = [name for name in (POSITION, SCALE, ROTATION, BASE) if name not in cloud.attributes]
    if missing:
        raise FaceLiftError(f"“{cloud.name}” holds no Gaussians: it lacks the attribute {', '.join(missing)}.")
    base = get_values(cloud, BASE, 4)
    opacity = base[:, 3].astype(np.float64).clip(0, 1)
    with np.errstate(divide="ignore"):
        logits = np.log(opacity) - np.log1p(-opacity)
    rest = [get_values(cloud, sh_name(k), 3) for k in range(sh_bases(cloud) - 1)]
    return SplatArrays(
        positions=get_values(cloud, POSITION, 3),
        sh=np.ascontiguousarray(np.stack([base[:, :3], *rest], axis=1)),
        log_scales=np.log(np.maximum(get_values(cloud, SCALE, 3), _SMALLEST_SCALE)),
        rotations=get_values(cloud, ROTATION, 4),
        opacity_logits=logits.clip(-MAX_LOGIT, MAX_LOGIT).astype(np.float32),
    )


def set_values(cloud: bpy.types.PointCloud, name: str, values: np.ndarray) -> None:
    attribute = cloud.attributes[name]
    dtype = _TYPES.get(attribute.data_type, np.float32)
    attribute.data.foreach_set(
        _VALUE_NAMES.get(attribute.data_type, "vector"), np.ascontiguousarray(values, dtype).ravel()
    )


def get_values(cloud: bpy.types.PointCloud, name: str, width: int) -> np.ndarray:
    """(N, width) float32 values of an attribute, or int32; (N,) bool of a boolean one."""
    attribute = cloud.attributes[name]
    dtype = _TYPES.get(attribute.data_type, np.float32)
    values = np.empty(len(attribute.data) * width, dtype)
    attribute.data.foreach_get(_VALUE_NAMES.get(attribute.data_type, "vector"), values)
    return values if dtype is bool else values.reshape(-1, width)


def copy_others(source: bpy.types.PointCloud, target: bpy.types.PointCloud, rows: np.ndarray) -> None:
    """Copy the attributes that `target` lacks from the chosen points of `source` to its first points.

    Args:
        rows: (N,) bool, points of `source`, at most as many as `target` has.
    """
    kinds = {a.name: a.data_type for a in source.attributes if a.domain == "POINT" and a.data_type in _WIDTHS}
    for name in kinds.keys() - set(target.attributes.keys()):
        values = get_values(source, name, _WIDTHS[kinds[name]])[rows]
        create(target, name, kinds[name])
        padded = np.zeros((len(target.points), *values.shape[1:]), values.dtype)
        padded[: len(values)] = values
        set_values(target, name, padded)


def turned_normals(normals: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals of a surface after its points have been transformed by the (3, 3) matrix `linear`."""
    turned = normals @ np.linalg.inv(linear)
    length = np.linalg.norm(turned, axis=1, keepdims=True)
    return (turned / np.where(length > 0, length, 1)).astype(np.float32)


def adopt_native_base(cloud: bpy.types.PointCloud) -> bool:
    """Give ``radiance:base`` of a file from before Blender 5.2 the type of Blender's own splats; whether it changed."""
    kind = base_type()
    if cloud.attributes[BASE].data_type == kind:
        return False
    values = get_values(cloud, BASE, 4)
    cloud.attributes.remove(cloud.attributes[BASE])
    cloud.attributes.new(BASE, kind, "POINT")
    set_values(cloud, BASE, values)
    return True


def to_linear(colors: np.ndarray) -> np.ndarray:
    """sRGB to linear light, negative values to 0."""
    colors = np.maximum(colors, 0)
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def to_displayed(light: np.ndarray) -> np.ndarray:
    """Linear light ≥ 0 to sRGB."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def nothing() -> SplatArrays:
    """No Gaussians."""
    shapes = ((0, 3), (0, 1, 3), (0, 3), (0, 4), (0,))
    return SplatArrays(*(np.zeros(shape, np.float32) for shape in shapes))
