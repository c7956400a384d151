"""Node formulas for colors: what an artist changes about them, sRGB, and colors that depend on the view."""

from __future__ import annotations

from collections.abc import Sequence

from bpy.types import NodeSocket

from .builder import Builder, Results, Sockets, part

VERSION = 2
"""Of the groups in here."""
_LUMA = (0.2126, 0.7152, 0.0722)


CHANGES = {"Tint": "Color", "Exposure": "Float", "Hue": "Float", "Saturation": "Float", "Value": "Float"}
"""Inputs of the modifier, and their types, that :func:`recolored` obeys."""


def recolored(b: Builder, inputs: Sockets, color: NodeSocket) -> NodeSocket:
    """Hue, saturation, value, tint and exposure: linear in the displayed color, so that spherical harmonics follow."""
    group = part("FaceLift Recolor", VERSION, {"As Displayed": "Vector", **CHANGES}, _recolored)
    return b.call(group, {"As Displayed": color, **{name: inputs[name] for name in CHANGES}})[0]


def _recolored(b: Builder, inputs: Sockets) -> Results:
    # One stop of light is a factor 2^(1/2.2) in displayed values.
    exposure = b.math("POWER", 2.0, b.math("DIVIDE", inputs["Exposure"], 2.2))
    gain = b.vector("SCALE", displayed(b, inputs["Tint"]), scale=b.math("MULTIPLY", exposure, inputs["Value"]))
    turned = b.node(
        "ShaderNodeVectorRotate",
        {"Vector": inputs["As Displayed"], "Axis": (1.0, 1.0, 1.0), "Angle": inputs["Hue"]},
        rotation_type="AXIS_ANGLE",
    ).outputs[0]
    luma = b.vector("DOT_PRODUCT", turned, _LUMA)
    grey = b.math("MULTIPLY", luma, b.math("SUBTRACT", 1.0, inputs["Saturation"]))
    saturated = b.vector("ADD", b.vector("SCALE", turned, scale=inputs["Saturation"]), b.join(grey, grey, grey))
    changes = b.total(
        *(b.math("ABSOLUTE", inputs[name]) for name in ("Exposure", "Hue")),
        *(b.math("ABSOLUTE", b.math("SUBTRACT", inputs[name], 1.0)) for name in ("Saturation", "Value")),
        b.vector("DISTANCE", inputs["Tint"], (1.0, 1.0, 1.0)),
    )
    is_changed = b.compare("GREATER_THAN", changes, 0.0)  # the same for all: where nothing is, nothing is computed
    result = b.switch("VECTOR", is_changed, inputs["As Displayed"], b.vector("MULTIPLY", saturated, gain))
    return {"As Displayed": ("Vector", result)}


def linear(b: Builder, color: NodeSocket) -> NodeSocket:
    """sRGB to linear light."""
    return b.call(part("FaceLift Linear Light", VERSION, {"As Displayed": "Vector"}, _linear), {0: color})[0]


def _linear(b: Builder, inputs: Sockets) -> Results:
    channels = []
    for value in b.split(inputs["As Displayed"]):
        curve = b.math("POWER", b.math("MULTIPLY_ADD", value, 1 / 1.055, 0.055 / 1.055), 2.4)
        straight = b.math("MULTIPLY", value, 1 / 12.92)
        channels.append(b.switch("FLOAT", b.compare("GREATER_THAN", value, 0.04045), straight, curve))
    return {"Linear Light": ("Vector", b.join(*channels))}


def displayed(b: Builder, color: NodeSocket) -> NodeSocket:
    """Linear light to sRGB."""
    channels = []
    for value in b.split(color):
        curve = b.math("MULTIPLY_ADD", b.math("POWER", value, 1 / 2.4), 1.055, -0.055)
        straight = b.math("MULTIPLY", value, 12.92)
        channels.append(b.switch("FLOAT", b.compare("GREATER_THAN", value, 0.0031308), straight, curve))
    return b.join(*channels)


def spherical_harmonics(b: Builder, direction: NodeSocket) -> Sequence[NodeSocket]:
    """The 15 real spherical harmonics of degrees 1 to 3, in the order and signs of 3D Gaussian Splatting."""
    group = part("FaceLift Spherical Harmonics", VERSION, {"Direction": "Vector"}, _spherical_harmonics)
    return b.call(group, {0: direction})


def _spherical_harmonics(b: Builder, inputs: Sockets) -> Results:
    x, y, z = b.split(inputs["Direction"])
    xx, yy, zz = (b.math("MULTIPLY", v, v) for v in (x, y, z))
    xy, yz, xz = b.math("MULTIPLY", x, y), b.math("MULTIPLY", y, z), b.math("MULTIPLY", x, z)

    def weighted(*terms: tuple[float, NodeSocket]) -> NodeSocket:
        return b.total(*(b.math("MULTIPLY", value, factor) for factor, value in terms))

    c1, c2, c3 = 0.4886025119029199, 1.0925484305920792, 0.31539156525252005
    c4, c5, c6, c7, c8 = (
        0.5900435899266435,
        2.890611442640554,
        0.4570457994644658,
        0.3731763325901154,
        1.445305721320277,
    )
    ring = weighted((4.0, zz), (-1.0, xx), (-1.0, yy))
    values = [
        b.math("MULTIPLY", y, -c1),
        b.math("MULTIPLY", z, c1),
        b.math("MULTIPLY", x, -c1),
        b.math("MULTIPLY", xy, c2),
        b.math("MULTIPLY", yz, -c2),
        weighted((2.0 * c3, zz), (-c3, xx), (-c3, yy)),
        b.math("MULTIPLY", xz, -c2),
        weighted((0.5 * c2, xx), (-0.5 * c2, yy)),
        b.math("MULTIPLY", y, weighted((-3.0 * c4, xx), (c4, yy))),
        b.math("MULTIPLY", xy, b.math("MULTIPLY", z, c5)),
        b.math("MULTIPLY", y, b.math("MULTIPLY", ring, -c6)),
        b.math("MULTIPLY", z, weighted((2.0 * c7, zz), (-3.0 * c7, xx), (-3.0 * c7, yy))),
        b.math("MULTIPLY", x, b.math("MULTIPLY", ring, -c6)),
        b.math("MULTIPLY", z, weighted((c8, xx), (-c8, yy))),
        b.math("MULTIPLY", x, weighted((-c4, xx), (3.0 * c4, yy))),
    ]
    return {str(k): ("Float", value) for k, value in enumerate(values)}
