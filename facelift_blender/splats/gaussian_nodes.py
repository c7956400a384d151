"""The Gaussians as fields of a node tree, shared by the ways to show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from bpy.types import NodeSocket

from .builder import Builder

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
    camera: Mapping[str, NodeSocket]

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
