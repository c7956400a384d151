"""Synthetic faces with known expressions, and what the landmark detector sees of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..align.landmarks import find_landmarks
from ..animation.chart import close_up
from ..animation.iris import iris_centers
from ..animation.response import CAMERA_TO_WORLD, head_angles, with_irises
from ..animation.rig import SHAPES
from ..rendering import cameras
from .heads.anatomy import load_anatomy
from .heads.render import on_white, render
from .heads.scene import Head, face_vertices, make_head

SIZE = 512
EXPRESSIONS = 7
"""Expressions per person, besides the neutral one; each is seen from :data:`VIEWS` directions."""
VIEWS = 2
TURN, NOD = 30.0, 18.0
"""Largest angles of the camera from the front, in degrees."""
REST_TURN, REST_NOD = 8.0, 6.0
"""The same for the first view of a person, without expression, with which the others are compared."""
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
        points: (N, 470, 3) float32, landmarks and irises in pixels of the picture.
        pictures: (N, 192, 192) uint8, close-ups.
        rest: (N,) int64, the view of the same person that it is compared with.
    """

    person: np.ndarray
    weights: np.ndarray
    head: np.ndarray
    points: np.ndarray
    pictures: np.ndarray
    rest: np.ndarray

    @classmethod
    def of(cls, people: Iterable[list[tuple]]) -> Faces:
        """What :func:`observe` yields."""
        views, rest = [], []
        for person in people:
            rest += [len(views)] * len(person)
            views += person
        columns = [np.array(column) for column in zip(*views, strict=True)]
        return cls(*columns, np.array(rest))


def observe(seeds: Iterable[int]) -> Iterator[list[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]]:
    """Seed, weights, angles, points, and close-up of every view of a person in which the detector finds the face.

    The first one is from the front, without expression; a person whose face is not found in it is left out.
    """
    for seed in seeds:
        rng, turn = np.random.default_rng([seed, _STREAM]), turn_of(make_head(seed, {}))
        views = []
        for expression in range(EXPRESSIONS + 2):
            actions = sample_actions(rng) if expression > 1 else {}
            weights = np.array([actions.get(name, 0.0) for name in SHAPES], np.float32)
            directions = rng.uniform(-1, 1, (VIEWS if expression else 1, 2))
            azimuths, elevations = (directions * ((TURN, NOD) if expression else (REST_TURN, REST_NOD))).T
            c2w = cameras.orbit(torch.tensor(FRONT + azimuths), torch.tensor(elevations)).numpy().astype(np.float32)
            for camera, rgba in zip(c2w, render(make_head(seed, actions), c2w, SIZE).rgba, strict=True):
                angles = head_angles((CAMERA_TO_WORLD @ camera[:3, :3].T @ turn)[None])[0].astype(np.float32)
                views += [(seed, weights, angles, *seen) for seen in _seen(np.asarray(on_white(rgba)))]
            if not views:
                break
        if views:
            yield views


def _seen(pixels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Points and close-up of the face in a view; nothing if the detector does not find it."""
    found = find_landmarks(Image.fromarray(pixels))
    if found is None:
        return []
    picture, points = close_up(pixels, with_irises(found.points, iris_centers(pixels, found.points)))
    return [(points, picture)]


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
