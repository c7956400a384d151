"""Synthetic faces with known expressions, and what the landmark detector sees of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..align.landmarks import find_landmarks
from ..animation.iris import iris_centers
from ..animation.response import CAMERA_TO_WORLD, head_angles, with_irises
from ..animation.rig import SHAPES
from ..rendering import cameras
from .heads.anatomy import load_anatomy
from .heads.render import on_white, render
from .heads.scene import Head, face_vertices, make_head

SIZE = 512
EXPRESSIONS = 5
"""Expressions per person, besides the neutral one; each is seen from :data:`VIEWS` directions."""
VIEWS = 2
TURN, NOD = 30.0, 18.0
"""Largest angles of the camera from the front, in degrees."""
FRONT = 270.0
BOTH_SIDES = 0.7
"""How often an action that has two sides happens on both."""
_STREAM = 101


@dataclass(frozen=True)
class Faces:
    """N views of people.

    Attributes:
        person: (N,) int64 seeds.
        weights: (N, 52) float32, strengths of the shapes.
        head: (N, 3) float32, angles of the head to the camera as of :class:`..animation.take.Take`.
        points: (N, 470, 3) float32, landmarks and irises in pixels of a 512² view.
    """

    person: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    points: np.ndarray

    @classmethod
    def of(cls, views: Iterable[tuple]) -> Faces:
        """What :func:`observe` yields."""
        return cls(*(np.array(column) for column in zip(*views, strict=True)))


def observe(seeds: Iterable[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Person, weights, angles, and points of every view in which the detector finds the face."""
    for seed in seeds:
        rng, turn = np.random.default_rng([seed, _STREAM]), turn_of(make_head(seed, {}))
        for expression in range(EXPRESSIONS + 1):
            actions = sample_actions(rng) if expression else {}
            weights = np.array([actions.get(name, 0.0) for name in SHAPES], np.float32)
            azimuths = torch.tensor([FRONT + rng.uniform(-TURN, TURN) for _ in range(VIEWS)])
            elevations = torch.tensor([rng.uniform(-NOD, NOD) for _ in range(VIEWS)])
            c2w = cameras.orbit(azimuths, elevations).numpy().astype(np.float32)
            for camera, rgba in zip(c2w, render(make_head(seed, actions), c2w, SIZE).rgba, strict=True):
                picture = on_white(rgba)
                found = find_landmarks(picture)
                if found is not None:
                    points = with_irises(found.points, iris_centers(np.asarray(picture), found.points))
                    yield seed, weights, head_angles((CAMERA_TO_WORLD @ camera[:3, :3].T @ turn)[None])[0], points


def turn_of(head: Head) -> np.ndarray:
    """(3, 3) rotation of a head without expression in the world."""
    anatomy = load_anatomy()
    face = face_vertices(anatomy)
    rest, posed = anatomy.template[face], head.vertices[face]
    u, _, vt = np.linalg.svd((posed - posed.mean(0)).T.astype(np.float64) @ (rest - rest.mean(0)))
    return u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt


def sample_actions(rng: np.random.Generator) -> dict[str, float]:
    """Name → strength of one to six random facial actions."""
    actions: dict[str, float] = {}
    stems = sorted({_stem(name) for name in SHAPES} - {"eyeLookIn", "eyeLookOut", "mouthClose", "tongueOut"})
    for stem in rng.choice([*stems, "look"], size=rng.integers(1, 7), replace=False):
        strength = float(rng.uniform(0.1, 1.0))
        if stem == "look":
            inner, outer = ("Left", "Right") if rng.random() < 0.5 else ("Right", "Left")
            actions |= {f"eyeLookIn{inner}": strength, f"eyeLookOut{outer}": strength}
        elif stem in SHAPES:
            actions[stem] = strength
        else:
            both = rng.random() < BOTH_SIDES or stem.startswith("eyeLook")
            sides = ("Left", "Right") if both else (str(rng.choice(["Left", "Right"])),)
            actions |= {f"{stem}{side}": float(np.clip(strength * rng.normal(1, 0.1), 0, 1)) for side in sides}
    if "jawOpen" in actions and rng.random() < 0.3:
        actions["mouthClose"] = actions["jawOpen"] * float(rng.uniform(0.3, 1))
    return actions


def _stem(name: str) -> str:
    """The name without its side; of jawLeft, jawRight, mouthLeft, and mouthRight, which exclude each other, with it."""
    if name.startswith(("jaw", "mouthLeft", "mouthRight")):
        return name
    return name.removesuffix("Left").removesuffix("Right")
