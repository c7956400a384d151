"""The face template as a model of heads: identity, expression, size and pose, fitted by Gauss-Newton."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from .rig import SHAPES
from .template import Template, landmarks_of
from .views import View

LEFT_OUT = {"mouthClose", "tongueOut", "cheekPuff", "jawForward"}
"""Shapes that a photo does not show reliably; besides those of the gaze."""
FITTED = np.array([name not in LEFT_OUT and not name.startswith("eyeLook") for name in SHAPES])
SCALE = 6.2
"""World units per meter of heads in the published frame, approximately."""
STRENGTH = 0.35
"""Standard deviation of the strengths of shapes."""
LANDMARK_NOISE, LANDMARK_REACH = 24.0, 8.0
"""Standard deviation of a landmark of average spread, and distance from which it counts as an outlier, in mm. The
errors of neighboring landmarks are similar, so the deviation is much larger than that of a single one."""
DEPTH_NOISE, DEPTH_REACH = 17.0, 6.0
"""The same for the depth of a vertex; there are many."""
SURFACE_NOISE = 12.0
"""Standard deviation of what displaces a vertex besides the expression, in mm; there are many vertices."""
OPENINGS = 5.0
"""Weight of lips and eyelids among the vertices of the face."""
FACING = 0.35
"""Least cosine between a vertex's normal and the direction to the camera, for its depth to count."""
POSE_STEPS, STEPS = 6, 9


@dataclass(frozen=True)
class State:
    """Parameters of a head.

    Attributes:
        rotation: (3, 3) of the head.
        origin: (3,) place of the pivot of the neck in the world.
        scale: world units per meter.
        identity: (K,) in standard deviations.
        expression: (52,) in [0, 1].
    """

    rotation: np.ndarray
    origin: np.ndarray
    scale: float
    identity: np.ndarray
    expression: np.ndarray


@dataclass(frozen=True)
class Sight:
    """One view of the head, with the landmarks found in it.

    Attributes:
        view: the surface.
        pixels: (468, 2) landmarks in pixels of `view`, or None.
    """

    view: View
    pixels: np.ndarray | None


class HeadModel:
    """The template's vertices as a function of :class:`State`."""

    def __init__(self, template: Template, chosen: np.ndarray):
        """`chosen`: (n,) vertices whose depth is compared with the head's."""
        self.template = template
        self.pivot = template.vertices[template.joint_vertices[0][template.joint_vertices[0] >= 0]].mean(0)
        self.chosen = chosen
        self._landmarks = self._restricted(lambda vertices: landmarks_of(template, vertices))
        self._chosen = self._restricted(lambda vertices: vertices[chosen])

    def _restricted(self, pick) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n, 3) and basis (K + 52, n, 3) of some points."""
        basis = np.concatenate([self.template.identities, self.template.shapes])
        return pick(self.template.vertices).astype(float), np.stack([pick(row) for row in basis]).astype(float)

    def start(self) -> State:
        front = np.array([0.0, -0.55, -0.05])  # the face in the published frame
        face = self.template.vertices[self.template.parts["face"]].mean(0) - self.pivot
        count = len(self.template.identities)
        return State(np.eye(3), front - SCALE * face, SCALE, np.zeros(count), np.zeros(len(SHAPES)))

    def place(self, state: State, vertices: np.ndarray) -> np.ndarray:
        """(V, 3) vertices of the template in the world; the body stays upright, and the neck turns in between."""
        angles = Rotation.from_matrix(state.rotation).as_rotvec()
        turned = Rotation.from_rotvec(self.template.turn[:, None] * angles).apply(vertices - self.pivot)
        return state.scale * turned + state.origin

    def identity(self, state: State) -> np.ndarray:
        """(V, 3) the person's vertices in the template's coordinates, without expression."""
        return self.template.vertices + np.tensordot(state.identity, self.template.identities, 1)

    def fit(self, state: State, sights: list[Sight], normals_of) -> State:
        """Fit pose and size to the landmarks, then everything to landmarks and depth.

        `normals_of`: a function from (V, 3) vertices to (V, 3) normals.
        """
        for _ in range(POSE_STEPS):
            state = self._step(state, sights, None, pose_only=True)
        for _ in range(STEPS):
            shape = self.identity(state) + np.tensordot(state.expression, self.template.shapes, 1)
            normals = normals_of(self.place(state, shape))[self.chosen]
            state = self._step(state, sights, normals)
        return state

    def _points(self, state: State, restricted: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(n, 3) points in the world, and their (n, 3, 7 + K + 52) derivatives."""
        mean, basis = restricted
        own = mean + np.tensordot(np.concatenate([state.identity, state.expression]), basis, 1) - self.pivot
        turned = state.scale * own @ state.rotation.T
        derivatives = np.zeros((len(own), 3, 7 + len(basis)))
        x, y, z = turned.T
        derivatives[:, 1, 0], derivatives[:, 2, 0] = -z, y
        derivatives[:, 0, 1], derivatives[:, 2, 1] = z, -x
        derivatives[:, 0, 2], derivatives[:, 1, 2] = -y, x
        derivatives[:, :, 3:6] = np.eye(3)
        derivatives[:, :, 6] = turned
        derivatives[:, :, 7:] = np.einsum("ij,pnj->nip", state.scale * state.rotation, basis)
        return turned + state.origin, derivatives

    def _step(self, state: State, sights: list[Sight], normals: np.ndarray | None, pose_only=False) -> State:
        count = len(state.identity)
        prior = np.concatenate([np.full(7, 1e-6), np.ones(count), np.full(len(SHAPES), STRENGTH**-2)])
        values = np.concatenate([np.zeros(7), state.identity, state.expression])
        matrix, vector = np.diag(prior), -prior * values
        points, derivatives = self._points(state, self._landmarks)
        spread = self.template.landmark_spread
        noise = LANDMARK_NOISE * spread / np.median(spread) * state.scale / 1000
        for sight in sights:
            if sight.pixels is not None:
                rows, errors = _across(sight.view, points, derivatives, sight.pixels)
                size = np.linalg.norm(errors, axis=1) / state.scale * 1000
                weight = _huber(size, LANDMARK_REACH) / noise**2
                _add(matrix, vector, rows.reshape(-1, rows.shape[-1]), errors.ravel(), np.repeat(weight, 2))
            if normals is not None:
                self._add_depth(matrix, vector, state, sight.view, normals)
        free = np.ones(len(values), bool)
        free[7 + count :] = FITTED
        if pose_only:
            free[7:] = False
        return _moved(state, _solve(matrix, vector, free, values, 7 + count))

    def _add_depth(self, matrix, vector, state: State, view: View, normals: np.ndarray) -> None:
        points, derivatives = self._points(state, self._chosen)
        places, directions, exists = view.surface_at(points)
        facing = (normals * view.towards(points)).sum(1)
        error = ((places - points) * directions).sum(1)
        millimeters = np.abs(error) / state.scale * 1000
        weight = exists * (facing > FACING) / (1 + (millimeters / DEPTH_REACH) ** 2) ** 2
        weight /= (DEPTH_NOISE * state.scale / 1000) ** 2
        used = weight > 0
        _add(matrix, vector, np.einsum("ni,nip->np", directions, derivatives)[used], error[used], weight[used])


def remaining_expression(state: State, displacement: np.ndarray, shapes: np.ndarray, template: Template) -> np.ndarray:
    """(52,) expression that explains the (V, 3) displacement of the person's face from its neutral shape best.

    The surface knows more about open lips and eyes than the landmarks.
    """
    face, weight = template.parts["face"], np.ones(len(displacement))
    weight[template.parts["lips"]] = weight[template.parts["eyelids"]] = OPENINGS
    rows = shapes[:, face].reshape(len(shapes), -1).T / state.scale * 1000
    error = displacement[face].ravel() / state.scale * 1000 - rows @ state.expression
    matrix, vector = np.diag(np.full(len(shapes), STRENGTH**-2)), -state.expression / STRENGTH**2
    _add(matrix, vector, rows, error, np.repeat(weight[face], 3) / SURFACE_NOISE**2)
    return (state.expression + _solve(matrix, vector, FITTED.copy(), state.expression, 0)).clip(0, 1)


def _across(view: View, points: np.ndarray, derivatives: np.ndarray, pixels: np.ndarray):
    """(n, 2, P) derivatives and (n, 2) missing distances across the view, in world units at the points' depths."""
    seen, depth = view.project(points)
    own = derivatives.transpose(0, 2, 1) @ view.c2w[:3, :3]
    slope = (seen - len(view.solid) / 2) / view.focal
    rows = own[..., :2] - own[..., 2:] * slope[:, None]
    return rows.transpose(0, 2, 1), (pixels - seen) / view.focal * depth[:, None]


def _huber(distance: np.ndarray, reach: float) -> np.ndarray:
    return np.minimum(1, reach / np.maximum(distance, 1e-9))


def _add(matrix: np.ndarray, vector: np.ndarray, rows: np.ndarray, errors: np.ndarray, weight: np.ndarray) -> None:
    weighted = rows * weight[:, None]
    matrix += weighted.T @ rows
    vector += weighted.T @ errors


def _solve(matrix: np.ndarray, vector: np.ndarray, free: np.ndarray, values: np.ndarray, first: int) -> np.ndarray:
    """The step that minimizes the quadratic, with the values from `first` on kept in [0, 1]."""
    free, step = free.copy(), np.zeros(len(vector))
    for _ in range(10):
        fixed = ~free
        step[free] = np.linalg.solve(
            matrix[np.ix_(free, free)], vector[free] - matrix[np.ix_(free, fixed)] @ step[fixed]
        )
        beyond = free & (np.arange(len(step)) >= first) & ((values + step < 0) | (values + step > 1))
        if not beyond.any():
            break
        step[beyond] = (values + step).clip(0, 1)[beyond] - values[beyond]
        free &= ~beyond
    return step


def _moved(state: State, step: np.ndarray) -> State:
    count = len(state.identity)
    return replace(
        state,
        rotation=Rotation.from_rotvec(step[:3]).as_matrix() @ state.rotation,
        origin=state.origin + step[3:6],
        scale=state.scale * float(np.exp(np.clip(step[6], -0.3, 0.3))),
        identity=state.identity + step[7 : 7 + count],
        expression=(state.expression + step[7 + count :]).clip(0, 1),
    )
