"""The Gaussians as fields of a node tree, shared by the ways to show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from bpy.types import NodeSocket

from . import camera_nodes
from .builder import Builder, Results, Sockets, Value, part

SMALLEST_ALPHA = 1.0 / 255.0
"""A Gaussian ends where its alpha falls below this, as in every splat viewer."""
_AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Gaussians:
    """Fields on the points of `geometry`; lengths are in object space.

    Attributes:
        sigma: vector, standard deviations along the Gaussian's own axes.
        rotation: of those axes.
        color: RGB as emitted towards the camera, and the opacity.
        camera: outputs of :func:`.camera_nodes.camera_group`.
    """

    b: Builder
    geometry: NodeSocket
    sigma: NodeSocket
    rotation: NodeSocket
    opacity: NodeSocket
    color: NodeSocket
    camera: Sockets

    @cached_property
    def reach(self) -> NodeSocket:
        """Standard deviations from the centre to where alpha is SMALLEST_ALPHA."""
        b = self.b
        excess = b.log(b.math("MULTIPLY", self.opacity, 1.0 / SMALLEST_ALPHA))
        return b.math("SQRT", b.math("MAXIMUM", b.math("MULTIPLY", excess, 2.0), 0.0))

    @cached_property
    def arms(self) -> list[NodeSocket]:
        """Three vectors: the axes, one standard deviation long."""
        b = self.b
        turned = [b.node("FunctionNodeRotateVector", {"Vector": axis, "Rotation": self.rotation}) for axis in _AXES]
        lengths = b.split(self.sigma)
        return [b.vector("SCALE", n.outputs[0], scale=length) for n, length in zip(turned, lengths, strict=True)]

    @cached_property
    def seen_arms(self) -> list[NodeSocket]:
        """The same as the camera sees them: as long as in the world, where an uneven scale leaves no right angles."""
        b, to_camera = self.b, self.camera["To Camera"]
        nodes = [
            b.node("FunctionNodeTransformDirection", {"Direction": arm, "Transform": to_camera}) for arm in self.arms
        ]
        return [node.outputs[0] for node in nodes]

    @cached_property
    def seen_center(self) -> NodeSocket:
        b = self.b
        position = b.node("GeometryNodeInputPosition").outputs[0]
        inputs = {"Vector": position, "Transform": self.camera["To Camera"]}
        return b.node("FunctionNodeTransformPoint", inputs).outputs[0]


_FIELDS = {"Geometry": "Geometry", "Sigma": "Vector", "Rotation": "Rotation", "Opacity": "Float", "Color": "Color"}


def shown_by(
    name: str,
    version: int,
    build: Callable[[Builder, Sockets, Gaussians], NodeSocket],
    gaussians: Gaussians,
    inputs: Mapping[str, tuple[str, Value]],
) -> NodeSocket:
    """Geometry that a group of its own makes of `gaussians`.

    Args:
        name, version: of the group, as for :func:`.builder.part`.
        build: adds the nodes; takes the other inputs, and the Gaussians inside the group.
        inputs: the others; name → (socket type, value).
    """

    def inside(b: Builder, sockets: Sockets) -> Results:
        fields = [sockets[field] for field in _FIELDS]
        camera = b.call(camera_nodes.camera_group())
        return {"Geometry": ("Geometry", build(b, sockets, Gaussians(b, *fields, camera)))}

    kinds = {key: kind for key, (kind, _) in inputs.items()}
    b, g = gaussians.b, gaussians
    values = zip(_FIELDS, (g.geometry, g.sigma, g.rotation, g.opacity, g.color), strict=True)
    group = part(name, version, {**_FIELDS, **kinds}, inside)
    return b.call(group, {**dict(values), **{key: value for key, (_, value) in inputs.items()}})[0]
