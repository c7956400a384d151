"""A small rig: a bent sheet of quads as the face, and Gaussians near it."""

import numpy as np

from facelift_core.animation.rig import BONES, CORNERS, SHAPES, Binding, FaceMesh, Rig
from facelift_core.gaussians.arrays import SplatArrays

SIDE = 9


def make_rig(count: int = 200) -> Rig:
    rng = np.random.default_rng(0)
    x, z = np.meshgrid(np.linspace(-0.3, 0.3, SIDE), np.linspace(-0.3, 0.3, SIDE))
    vertices = np.stack([x, 0.5 * x**2 + 0.3 * z**2 - 0.5, z], -1).reshape(-1, 3).astype(np.float32)
    number = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    quads = np.stack([number[:-1, :-1], number[:-1, 1:], number[1:, 1:], number[1:, :-1]], -1).reshape(-1, 4)
    uv = (vertices[:, [0, 2]] / 0.6 + 0.5).astype(np.float32)
    shapes = 0.02 * rng.normal(size=(len(SHAPES), len(vertices), 3)).astype(np.float32)
    joints = np.zeros((len(BONES), 2, 3), np.float32)
    joints[:, 0] = [[0, 0, -0.5], [0, 0, -0.3], [0, 0, -0.1], [0.1, -0.3, 0.1], [-0.1, -0.3, 0.1]]
    joints[:, 1] = joints[:, 0] + np.float32([0, -0.1, 0])
    joints[:2, 1] = joints[:2, 0] + np.float32([0, 0, 0.2])
    weights = np.zeros((len(BONES), len(vertices)), np.float32)
    weights[1], weights[2] = vertices[:, 2] > -0.1, vertices[:, 2] <= -0.1
    mesh = FaceMesh(
        vertices, quads.astype(np.int32), uv[quads], shapes, np.zeros_like(vertices),
        np.zeros(len(SHAPES), np.float32), joints, weights, {"skin": np.arange(len(vertices), dtype=np.int32)},
    )  # fmt: skip
    corners = quads[rng.integers(len(quads), size=count)].astype(np.int32)
    shares = rng.dirichlet(np.ones(CORNERS), count).astype(np.float32)
    positions = np.einsum("nk,nkc->nc", shares, vertices[corners]) + 0.01 * rng.normal(size=(count, 3))
    gaussians = SplatArrays(
        positions.astype(np.float32),
        rng.normal(size=(count, 1, 3)).astype(np.float32),
        np.log(rng.uniform(0.005, 0.03, (count, 3))).astype(np.float32),
        rng.normal(size=(count, 4)).astype(np.float32),
        rng.normal(2, 1, count).astype(np.float32),
    )
    return Rig(gaussians, mesh, Binding(corners, shares))
