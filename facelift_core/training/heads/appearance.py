"""Appearance of the body: skin, lips, brows, eyes and beard, as one linear albedo per vertex.

Colors are painted in template coordinates, so they stay on their facial feature for every shape of head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy
from .fields import blend, bump, linear, noise, smoothstep
from .people import CHILD, MOUTH_HEIGHT, OLD, Person

# Skin colors from light to dark (sRGB). A random tone interpolates along a row; the rows differ in undertone.
SKIN = linear(
    [
        [[0.90, 0.75, 0.67], [0.86, 0.68, 0.58], [0.81, 0.62, 0.51], [0.68, 0.49, 0.38], [0.50, 0.35, 0.27]],
        [[0.89, 0.75, 0.64], [0.85, 0.69, 0.56], [0.79, 0.62, 0.48], [0.65, 0.48, 0.36], [0.46, 0.33, 0.25]],
        [[0.76, 0.58, 0.46], [0.63, 0.45, 0.34], [0.50, 0.35, 0.26], [0.38, 0.26, 0.20], [0.27, 0.185, 0.145]],
    ]
)
HAIR = linear(
    [
        [0.075, 0.065, 0.06],  # black
        [0.16, 0.11, 0.08],  # dark brown
        [0.29, 0.19, 0.12],  # brown
        [0.46, 0.33, 0.20],  # light brown
        [0.66, 0.51, 0.30],  # blond
        [0.80, 0.69, 0.50],  # light blond
        [0.48, 0.24, 0.13],  # red
        [0.55, 0.53, 0.51],  # gray
        [0.74, 0.73, 0.71],  # white
    ]
)
WET = 2.0
"""Gloss of the cornea. Values of 1 or more make small sharp highlights (see native/zbuffer.cpp)."""
IRIS = linear([[0.27, 0.16, 0.09], [0.20, 0.12, 0.08], [0.42, 0.30, 0.16], [0.38, 0.48, 0.58], [0.40, 0.45, 0.33]])


@dataclass
class Look:
    """Surface properties of the rendered vertices, in the anatomy's order.

    Attributes:
        albedo: (V, 3) float32 linear RGB.
        gloss: (V,) float32 strength of highlights; 1 or more makes small sharp ones (native/zbuffer.cpp).
        scatter: (V,) float32 in [0, 1], how much light bleeds past the terminator (skin 1, cloth 0).
        displacement: (V,) float32, outward along the normal in meters (cloth, beard).
        skin, hair: (3,) linear base colors.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    scatter: np.ndarray
    displacement: np.ndarray
    skin: np.ndarray
    hair: np.ndarray


def paint(anatomy: Anatomy, person: Person, rng: np.random.Generator) -> Look:
    """Generate a random look that fits the person."""
    skin, hair = _skin_color(person, rng), _hair_color(person, rng)
    count = len(anatomy.template)
    look = Look(
        albedo=np.tile(skin, (count, 1)),
        gloss=np.full(count, 0.16 * rng.uniform(0.4, 1.4), np.float32),
        scatter=np.ones(count, np.float32),
        displacement=np.zeros(count, np.float32),
        skin=skin,
        hair=hair,
    )
    _skin_detail(look, anatomy, person, rng)
    _mouth(look, anatomy, person, rng)
    _eye_region(look, anatomy, person, rng)
    _brows(look, anatomy, person, rng)
    if person.female < 0.5 and person.age > CHILD and rng.random() < 0.5:
        _beard(look, anatomy, rng)
    _eyes(look, anatomy, person, rng)
    np.clip(look.albedo, 0.003, 0.95, out=look.albedo)
    return look


def _skin_color(person: Person, rng: np.random.Generator) -> np.ndarray:
    row = rng.choice(3, p=person.ancestry[[2, 1, 0]] / person.ancestry.sum())
    tone = np.clip(rng.beta(1.3, 2.2) if row < 2 else rng.beta(1.6, 1.6), 0, 1) * (SKIN.shape[1] - 1)
    low = min(int(tone), SKIN.shape[1] - 2)
    color = SKIN[row, low] + (SKIN[row, low + 1] - SKIN[row, low]) * (tone - low)
    warmth = np.array([0.05, 0.0, -0.05]) * rng.normal(1, 0.7)
    return (color * (1 + warmth) * rng.uniform(0.95, 1.05)).astype(np.float32)


def _hair_color(person: Person, rng: np.random.Generator) -> np.ndarray:
    european = person.ancestry[2]
    chance = np.array([0.35, 0.3, 0.25 * european + 0.05, 0.2 * european, 0.18 * european, 0.1 * european])
    chance = np.concatenate([chance, [0.08 * european, 0.04, 0.01]])
    if person.age < 0.6:
        chance[7:] *= 0.1
    if person.age > OLD - 0.05:
        chance[7:] += np.array([3.0, 2.5]) * (person.age - OLD + 0.05)
    first, second = rng.choice(len(HAIR), p=chance / chance.sum()), rng.integers(len(HAIR))
    mixed = HAIR[first] + (HAIR[second] - HAIR[first]) * rng.uniform(0, 0.12)
    if rng.random() < 0.05:  # dyed
        mixed = linear(rng.uniform(0.1, 0.9, 3))
    return (mixed * (1 + np.array([0.06, 0.0, -0.10]) * rng.normal(0, 1)) * rng.uniform(0.75, 1.3)).astype(np.float32)


def _skin_detail(look: Look, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    template = anatomy.template
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    blotch = 1 + 0.025 * noise(template, rng, 60) + 0.02 * noise(template, rng, 170)
    look.albedo *= blotch[:, None]
    face = y < -0.09
    cheeks = bump(x, 0.045, 0.02) * bump(z, 0.688, 0.018) * face
    nose = bump(x, 0, 0.013) * bump(z, 0.697, 0.012) * (y < -0.14)
    red = (cheeks + 0.8 * nose + 0.5 * anatomy.masks["ears"]) * rng.uniform(0.1, 0.9)
    look.albedo *= 1 - np.array([0.02, 0.16, 0.14], np.float32) * np.clip(red, 0, 1)[:, None]
    # The lower face is slightly cooler and darker; some light skins have freckles.
    jaw = bump(z, 0.645, 0.02) * face * rng.uniform(0, 0.1) * (1.3 - person.female)
    look.albedo *= 1 - np.array([1.0, 0.9, 0.7], np.float32) * jaw[:, None]
    if look.skin[1] > 0.3 and rng.random() < 0.2:  # freckles
        spots = smoothstep(0.8, 1.6, noise(template, rng, 900, 8)) * (cheeks + nose + 0.3 * face)
        look.albedo *= 1 - np.array([0.12, 0.22, 0.27], np.float32) * np.clip(spots, 0, 1)[:, None]
    if rng.random() < 0.35:
        _blemishes(look, anatomy, rng)
    if person.female > 0.5 and person.age > CHILD and rng.random() < 0.3:  # rouge
        rouge = bump(x, 0.055, 0.016) * bump(z, 0.695, 0.014) * face
        blend(look.albedo, linear([0.78, 0.38, 0.36]), rouge * rng.uniform(0.1, 0.4))
    _folds(look, anatomy, person, rng)
    look.gloss *= 1 + 0.8 * nose + 0.5 * bump(z, 0.78, 0.02) * (y < -0.12)


def _blemishes(look: Look, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Moles, spots and scars: a few small discs."""
    skin = anatomy.vertices["skin"]
    front = skin[(anatomy.template[skin, 1] < -0.05) & (anatomy.template[skin, 2] > 0.60)]
    for center in anatomy.template[rng.choice(front, rng.integers(1, 9))]:
        distance = np.linalg.norm(anatomy.template - center, axis=1)
        tint = np.array([0.25, 0.35, 0.4]) if rng.random() < 0.5 else np.array([0.0, 0.3, 0.28])
        spot = smoothstep(1.4, 0.5, distance / rng.uniform(0.0012, 0.004))
        look.albedo *= (1 - tint * rng.uniform(0.4, 1.3) * spot[:, None]).astype(np.float32)


def _folds(look: Look, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    """Darker lines where the face folds: beside the mouth (smile or age), and wrinkles for old people."""
    template = anatomy.template
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    face = smoothstep(-0.08, -0.10, y) * (1 - anatomy.masks["lips"])
    old = max(0.0, person.age - 0.65) * rng.uniform(0.7, 2.2)
    beside = _line(x, z, (0.020, 0.692), (0.037, 0.657), 0.0035)
    look.albedo *= (1 - np.clip(0.06 + 0.28 * person.smile + 0.5 * old, 0, 0.45) * beside * face)[:, None]
    if old < 0.1:
        return
    wobble = 0.0015 * noise(template, rng, 80)
    rows = sum(bump(z + wobble, height, 0.0016) for height in (0.767, 0.776, 0.785, 0.794))
    look.albedo *= (1 - 0.6 * old * rows * bump(x, 0, 0.035) * face)[:, None]
    frown = bump(x, rng.uniform(0.004, 0.007), 0.002) * bump(z, 0.752, 0.008) * face
    bags = _line(x, z, (0.018, 0.7135), (0.042, 0.7145), 0.0025) * face
    jowl = _line(x, z, (0.034, 0.652), (0.034, 0.632), 0.0035) * face
    look.albedo *= (1 - old * (0.5 * frown + 0.7 * bags + 0.6 * jowl))[:, None]
    for k in range(3):
        crow = _line(x, z, (0.055, 0.7265 - 0.0035 * k), (0.068, 0.732 - 0.009 * k), 0.0015)
        look.albedo *= (1 - 0.7 * old * crow * face)[:, None]


def _line(x: np.ndarray, z: np.ndarray, start: tuple, end: tuple, width: float) -> np.ndarray:
    """1 on the segment from start to end in the frontal plane, falling off over `width` meters."""
    direction = np.subtract(end, start)
    along = np.clip(((x - start[0]) * direction[0] + (z - start[1]) * direction[1]) / (direction @ direction), 0, 1)
    distance = np.hypot(x - start[0] - along * direction[0], z - start[1] - along * direction[1])
    return np.exp(-((distance / width) ** 2))


def _mouth(look: Look, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    lips = anatomy.masks["lips"]
    natural = look.skin * np.array([0.82, 0.56, 0.56]) * rng.uniform(0.8, 1.0) + np.array([0.03, 0, 0.005])
    if person.female > 0.5 and person.age > CHILD and rng.random() < 0.4:
        stick = linear([[0.62, 0.12, 0.16], [0.70, 0.28, 0.30], [0.55, 0.20, 0.24], [0.75, 0.40, 0.38]])
        natural = natural + (stick[rng.integers(4)] - natural) * rng.uniform(0.4, 0.9)
    blend(look.albedo, natural, lips * rng.uniform(0.75, 1.0))
    look.gloss += 0.25 * lips * rng.uniform(0, 1)
    line = lips * bump(anatomy.template[:, 2], MOUTH_HEIGHT, 0.0018)
    look.albedo *= (1 - 0.45 * line)[:, None]
    inside = anatomy.masks["inside-mouth"] * (anatomy.template[:, 1] > -0.146) * (1 - lips)
    blend(look.albedo, linear([0.30, 0.10, 0.10]), inside)
    teeth = anatomy.vertices["teeth"]
    look.albedo[teeth] = linear([0.88, 0.85, 0.78]) * rng.uniform(0.7, 1.0)
    look.gloss[teeth] = 0.2


def _eye_region(look: Look, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    template = anatomy.template
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    socket = bump(x, 0.03, 0.02) * bump(z, 0.728, 0.013) * (y < -0.09)
    under = bump(x, 0.029, 0.014) * bump(z, 0.7135, 0.006) * (y < -0.1)
    look.albedo *= (1 - rng.uniform(0.05, 0.22) * socket - rng.uniform(0.0, 0.2) * under)[:, None]
    lids = anatomy.masks["eyelids"]
    if person.female > 0.5 and person.age > CHILD and rng.random() < 0.35:
        shadow = look.skin * rng.uniform(0.25, 0.7, 3)
        blend(look.albedo, shadow, 0.7 * lids * smoothstep(0.727, 0.731, z))
    rim = lids * rng.uniform(0.1, 0.35)
    look.albedo *= (1 - rim)[:, None]
    lashes = anatomy.vertices["lashes"]
    mascara = rng.uniform(0.5, 1.0) if person.female > 0.5 and rng.random() < 0.5 else rng.uniform(0.1, 0.6)
    lash = linear([0.09, 0.07, 0.06]) * rng.uniform(0.5, 1.2)
    look.albedo[lashes] = lash + (0.45 * look.skin - lash) * (1 - mascara)
    look.gloss[lashes] = 0


def _brows(look: Look, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    template = anatomy.template
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    half = rng.uniform(0.0028, 0.0042) if person.female > 0.5 else rng.uniform(0.0036, 0.0056)
    along = (x - rng.uniform(0.010, 0.014)) / rng.uniform(0.040, 0.046)
    arch = rng.uniform(0.002, 0.0065)
    middle = (
        rng.uniform(0.7455, 0.7500) + arch * np.sin(np.clip(along, 0, 1) * 2.3) - 0.005 * np.clip(along - 0.6, 0, 1)
    )
    thickness = half * (1.15 - 0.6 * np.clip(along, 0, 1) ** 1.5)
    brow = smoothstep(1.35, 0.6, np.abs(z - middle) / thickness) * (y < -0.085)
    brow = brow * smoothstep(-0.08, 0.08, along) * smoothstep(1.1, 0.9, along)
    hairs = 0.88 + 0.12 * noise(template * np.array([1, 1, 0.4]), rng, 1500)
    # Brows are darker than the hair, and rarely as light as blond or dyed hair.
    color = np.minimum(look.hair, linear([0.34, 0.25, 0.18])) * rng.uniform(0.35, 0.8) + 0.02 * look.skin
    blend(look.albedo, color, brow * hairs * rng.uniform(0.6, 1.0))
    look.gloss *= 1 - 0.8 * brow
    look.displacement += 0.0012 * brow.astype(np.float32)


def _beard(look: Look, anatomy: Anatomy, rng: np.random.Generator) -> None:
    template, lips = anatomy.template, anatomy.masks["lips"]
    x, y, z = np.abs(template[:, 0]), template[:, 1], template[:, 2]
    edge = 0.004 * noise(template, rng, 150)
    front = y < -0.06
    # Its upper edge runs from the sideburn (x .075) down the cheek to the corner of the mouth (x .03).
    cheek = smoothstep(0.0, -0.008, z - (0.668 + 0.9 * np.clip(x - 0.038, 0, 0.05)) + edge) * (y < -0.045)
    chin = cheek * smoothstep(0.596, 0.618, z + edge)
    moustache = bump(z, 0.6785, rng.uniform(0.005, 0.008)) * smoothstep(0.034, 0.026, x) * (y < -0.125)
    kind = rng.choice(["stubble", "full", "goatee", "moustache"], p=[0.4, 0.35, 0.15, 0.1])
    if kind == "goatee":
        chin = chin * smoothstep(0.034, 0.024, x)
    if kind == "moustache":
        chin = np.zeros_like(chin)
    philtrum = smoothstep(0.0, 0.004, x)
    beard = np.clip(chin + moustache * (0.6 + 0.4 * philtrum), 0, 1) * front * (1 - np.clip(1.6 * lips, 0, 1))
    strength = rng.uniform(0.15, 0.45) if kind == "stubble" else rng.uniform(0.7, 0.97)
    shade = 1 + 0.2 * noise(template * np.array([1, 1, 0.4]), rng, 500)
    blend(look.albedo, look.hair * rng.uniform(0.7, 1.0) * np.clip(shade, 0.4, 1.6)[:, None], beard * strength)
    look.gloss *= 1 - 0.7 * beard * strength
    look.scatter *= (1 - beard * strength).astype(np.float32)
    if kind != "stubble":
        length = rng.choice([0.002, 0.005, 0.010], p=[0.5, 0.35, 0.15])
        look.displacement += (length * beard * np.clip(0.9 + 0.15 * noise(template, rng, 120), 0.4, 1.4)).astype(
            np.float32
        )


def _eyes(look: Look, anatomy: Anatomy, person: Person, rng: np.random.Generator) -> None:
    spread = 0.25 if rng.random() < 0.25 else 0.07
    gaze = np.array([rng.normal(0, spread), -1, rng.normal(0.0, 0.6 * spread)])
    gaze /= np.linalg.norm(gaze)
    european = rng.random() < person.ancestry[2]
    iris = IRIS[rng.integers(5) if european else rng.integers(2)] * rng.uniform(0.8, 1.3)
    white = linear([0.80, 0.77, 0.75]) * rng.uniform(0.7, 1.0)
    iris_angle, pupil_angle = rng.uniform(0.43, 0.49), rng.uniform(0.14, 0.2)
    eyes = anatomy.vertices["eyes"]
    for side in (-1, 1):
        own = eyes[anatomy.template[eyes, 0] * side > 0]
        # Directions from the center of the person's own eyeball, whose size and position vary.
        direction = person.vertices[own] - person.vertices[own].mean(0)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-9
        angle = np.arccos(np.clip(direction @ gaze, -1, 1))
        color = np.tile(white, (len(own), 1)) * (1 - 0.35 * smoothstep(0.6, 1.2, angle))[:, None]
        blend(
            color,
            iris * (0.75 + 0.5 * bump(angle, 0.27, 0.1))[:, None],
            smoothstep(iris_angle + 0.04, iris_angle - 0.04, angle),
        )
        blend(color, iris * 0.25, 0.7 * bump(angle, iris_angle, 0.05))
        blend(color, np.full(3, 0.005), smoothstep(pupil_angle + 0.04, pupil_angle - 0.03, angle))
        look.albedo[own] = color
    look.gloss[eyes] = WET
    look.scatter[eyes] = 0.5
