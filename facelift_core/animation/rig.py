"""What a rig consists of: a face mesh with shapes and bones, and the weights by which Gaussians follow it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..gaussians.arrays import SplatArrays

SHAPES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""Names of the 52 shapes, as ARKit's face tracking has them; left and right are the person's own."""
NEUTRAL = "Neutral"
"""Name of one more shape, which takes the expression of the photo back."""
BONES = ("neck", "head", "jaw", "eye.L", "eye.R")
"""Bones of a face mesh that move something."""
BODY = "body"
"""Bone of what does not move."""
PARENTS = {"neck": BODY, "head": "neck", "jaw": "head", "eye.L": "head", "eye.R": "head"}
CORNERS = 4
"""Vertices that a Gaussian follows."""


@dataclass(frozen=True)
class FaceMesh:
    """The face mesh on one head, in the world of its Gaussians (Z up, facing −Y; docs/model.md, 5).

    Its topology is the same for everyone. Skin, eyeballs, teeth and tongue are one mesh of quads.

    Attributes:
        vertices: (V, 3) float32, as in the photo, with its expression.
        quads: (F, 4) int32, counterclockwise seen from outside.
        uvs: (F, 4, 2) float32 in [0, 1], v up, of the corners of each quad.
        shapes: (52, V, 3) float32, displacement by each shape of :data:`SHAPES` at strength 1.
        neutral: (V, 3) float32, displacement that takes the expression of the photo back.
        expression: (52,) float32 in [0, 1], the expression of the photo. `eyeBlink` is how far the lids are closed
            there, by all that moves them.
        joints: (5, 2, 3) float32, head and tail of each bone of :data:`BONES`.
        bone_weights: (5, V) float32; what is missing from a sum of 1 stays with the body.
        parts: name ("skin", "eyes", "teeth", "tongue") → (n,) int32 vertices.
    """

    vertices: np.ndarray
    quads: np.ndarray
    uvs: np.ndarray
    shapes: np.ndarray
    neutral: np.ndarray
    expression: np.ndarray
    joints: np.ndarray
    bone_weights: np.ndarray
    parts: dict[str, np.ndarray]


@dataclass(frozen=True)
class Binding:
    """The vertices of the face mesh that each of N Gaussians follows.

    Attributes:
        corners: (N, 4) int32 vertices.
        shares: (N, 4) float32, which sum to 1.
    """

    corners: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Rig:
    """A head that can move.

    Attributes:
        gaussians: the head's Gaussians, completed by what the photo does not show: the inside of the mouth, and the
            eyes behind the lids.
        mesh: the face mesh.
        binding: what each of `gaussians` follows.
    """

    gaussians: SplatArrays
    mesh: FaceMesh
    binding: Binding


def left_to_add(expression: np.ndarray, neutral: float = 0.0) -> np.ndarray:
    """(52,) share of each shape that is left to add to the expression of the photo, so that their sum is 1 at most.

    Where the photo smiles already, a smile would overshoot, and so would the lids of an eye that is half closed.

    Args:
        expression: (52,) of the photo.
        neutral: how far that is taken back, from 0 to 1.
    """
    return 1 - (1 - neutral) * np.asarray(expression)
