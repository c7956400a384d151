"""Hair: a painted and raised scalp, and a sheet of combed hair over it that can hang as long as it likes.

The sheet is a grid in template coordinates. Its columns start at the crown, one per azimuth, follow the skull down to
the hairline, and may go on: over the forehead as a fringe, or straight down beside the neck as long hair. It is carried
to the person's head by the affine map that fits their scalp best; what it then misses lies within its thickness.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .anatomy import Anatomy, Person, load_anatomy
from .appearance import Look
from .fields import blend, noise, smoothstep

CENTRE = np.array([0.0, -0.055, 0.755])
"""Middle of the skull; azimuth 0 is the front (−Y), ±180° the back, positive towards the subject's left."""
AZIMUTHS = 96
POLAR_STEPS = 40
POLAR_END = np.radians(125.0)

# Height of the hairline over |azimuth| in degrees: forehead, temple, sideburn, round the ear, nape.
_LINE_AZIMUTH = np.array([0.0, 30, 48, 62, 74, 84, 96, 108, 122, 145, 180])
_LINE_HEIGHT = np.array([0.801, 0.798, 0.778, 0.750, 0.716, 0.728, 0.744, 0.728, 0.690, 0.662, 0.652])


@dataclass(frozen=True)
class Hair:
    """A separate hair mesh, template coordinates carried to the person's head; may be empty.

    Attributes:
        vertices: (H, 3) float32.
        heights: (H,) float32 heights before carrying, for bending with the neck.
        albedo: (H, 3) float32 linear RGB.
        triangles: (T, 3) int32 into `vertices`.
    """

    vertices: np.ndarray
    heights: np.ndarray
    albedo: np.ndarray
    triangles: np.ndarray


NO_HAIR = Hair(
    np.empty((0, 3), np.float32), np.empty(0, np.float32), np.empty((0, 3), np.float32), np.empty((0, 3), np.int32)
)


def grow(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> Hair:
    """Paints and raises the scalp of `look` in place and returns the hair that hangs over it."""
    long_share = 0.68 if person.female > 0.5 else 0.12
    if rng.random() < (0.03 if person.female > 0.5 else 0.1):
        _scalp(anatomy, look, rng, thickness=0.0, opacity=rng.choice([0.0, 0.25, 0.45]), recede=0.0)
        return NO_HAIR
    recede = rng.uniform(0.0, 0.045) if person.female < 0.5 and rng.random() < 0.25 + 0.6 * (person.age - 0.6) else 0.0
    if rng.random() < long_share:
        _scalp(anatomy, look, rng, 0.002, 1.0, recede=0.0)
        length = rng.choice([rng.uniform(0.60, 0.68), rng.uniform(0.50, 0.60), rng.uniform(0.40, 0.50)])
        return _sheet(anatomy, person, look, rng, length, thickness=rng.uniform(0.010, 0.028))
    kind = rng.choice(["buzz", "short", "full"], p=[0.22, 0.38, 0.4])
    if kind == "buzz":
        _scalp(anatomy, look, rng, 0.002, rng.uniform(0.55, 0.95), recede)
        return NO_HAIR
    if kind == "short" or recede > 0.02:
        _scalp(anatomy, look, rng, rng.uniform(0.005, 0.013), 1.0, recede)
        return NO_HAIR
    _scalp(anatomy, look, rng, 0.003, 1.0, 0.0)
    african = rng.random() < person.ancestry[0]
    return _sheet(
        anatomy, person, look, rng, None, rng.uniform(0.025, 0.065) if african else rng.uniform(0.012, 0.032), african
    )


def hairline(azimuth: np.ndarray) -> np.ndarray:
    """Height of the hairline (metres) at azimuths in radians."""
    return np.interp(np.abs(np.degrees(azimuth)), _LINE_AZIMUTH, _LINE_HEIGHT)


def _scalp(
    anatomy: Anatomy, look: Look, rng: np.random.Generator, thickness: float, opacity: float, recede: float
) -> None:
    template = anatomy.template
    azimuth = np.arctan2(template[:, 0], -(template[:, 1] - CENTRE[1]))
    height = hairline(azimuth) + rng.normal(0, 0.004)
    front = smoothstep(1.2, 0.5, np.abs(azimuth))
    height = height + recede * front * (1 - 0.4 * smoothstep(0.35, 0.0, np.abs(azimuth)))
    cover = smoothstep(-0.004, 0.009, template[:, 2] - height + 0.004 * noise(template, rng, 130))
    cover = cover * (1 - np.clip(1.6 * anatomy.masks["ears"], 0, 1))
    on_skin = np.zeros(len(template))
    on_skin[anatomy.vertices["skin"]] = 1
    cover = cover * on_skin * (template[:, 2] > 0.64)
    streaks = 1 + 0.2 * noise(template * np.array([1, 1, 0.35], np.float32), rng, 300) + 0.12 * noise(template, rng, 90)
    blend(
        look.albedo, look.hair * np.clip(streaks, 0.3, 1.8)[:, None], cover * opacity * (1.8 if opacity == 1 else 1.0)
    )
    look.gloss *= 1 - 0.7 * cover * opacity
    look.scatter *= (1 - cover * opacity).astype(np.float32)
    raised = thickness * (0.75 + 0.35 * smoothstep(0.72, 0.82, template[:, 2]) + 0.22 * noise(template, rng, 55))
    look.displacement += (np.maximum(raised, 0.0) * cover).astype(np.float32)


@functools.cache
def _skull() -> tuple[np.ndarray, np.ndarray]:
    """Distance of the skull from CENTRE, (AZIMUTHS, POLAR_STEPS), and the fit matrix (4, n) of the affine map."""
    anatomy = load_anatomy()
    skin = anatomy.vertices["skin"]
    outer = skin[(anatomy.masks["ears"][skin] < 0.1) & (anatomy.masks["inside-mouth"][skin] < 0.5)]
    offset = anatomy.template[outer] - CENTRE
    distance = np.linalg.norm(offset, axis=1)
    polar = np.arccos(offset[:, 2] / distance)
    azimuth = np.arctan2(offset[:, 0], -offset[:, 1])
    azimuths, polars = _grid()
    away = np.stack(
        [
            np.sin(polars)[None] * np.sin(azimuths)[:, None],
            -np.sin(polars)[None] * np.cos(azimuths)[:, None],
            np.broadcast_to(np.cos(polars), (len(azimuths), len(polars))),
        ],
        -1,
    )
    near = offset[polar < POLAR_END + 0.1]
    directions = near / np.linalg.norm(near, axis=1, keepdims=True)
    # Each direction takes the outermost of the vertices closest to it: lids and nostrils lie behind the skin.
    closest = np.argsort(-(away.reshape(-1, 3) @ directions.T), axis=1)[:, :4]
    radius = np.linalg.norm(near, axis=1)[closest].max(1).reshape(away.shape[:2])
    for _ in range(2):
        radius = 0.5 * radius + 0.25 * (np.roll(radius, 1, 0) + np.roll(radius, -1, 0))
    return radius, _scalp_fit(anatomy)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(-np.pi, np.pi, AZIMUTHS), np.linspace(0.0, POLAR_END, POLAR_STEPS)


def _scalp_vertices(anatomy: Anatomy) -> np.ndarray:
    skin = anatomy.vertices["skin"]
    z, y = anatomy.template[skin, 2], anatomy.template[skin, 1]
    return skin[(z > 0.70) & ((z > 0.77) | (y > -0.09)) & (anatomy.masks["ears"][skin] < 0.1)]


def _scalp_fit(anatomy: Anatomy) -> np.ndarray:
    points = anatomy.template[_scalp_vertices(anatomy)].astype(np.float64)
    return np.linalg.pinv(np.concatenate([points, np.ones((len(points), 1))], 1))


def _carry(anatomy: Anatomy, person: Person, points: np.ndarray) -> np.ndarray:
    """Template points to the person's head by the affine map that fits their scalp best."""
    matrix = _skull()[1] @ person.vertices[_scalp_vertices(anatomy)].astype(np.float64)
    return points @ matrix[:3] + matrix[3]


def _sheet(
    anatomy: Anatomy,
    person: Person,
    look: Look,
    rng: np.random.Generator,
    length: float | None,
    thickness: float,
    curly: bool = False,
) -> Hair:
    """The combed sheet. `length` is the height where long hair ends, or None for hair that ends at the hairline."""
    azimuths, polars = _grid()
    skull = _skull()[0]
    turn = np.degrees(np.abs(azimuths))
    end = hairline(azimuths) - 0.002
    fringe = rng.random() < (0.4 if length is not None else 0.3)
    if fringe:
        drop = rng.uniform(0.758, 0.785) + rng.uniform(-0.012, 0.012) * np.sin(azimuths + rng.uniform(0, 6))
        end = np.where(turn < 55, np.minimum(end, drop), end)
    if length is not None:
        face = rng.uniform(52, 78)  # degrees from the front where long hair begins to hang
        hang = smoothstep(face - 8, face + 8, turn)
        bottom = length + 0.012 * np.sin(azimuths * rng.integers(2, 5) + rng.uniform(0, 6))
        end = end + (bottom - end) * hang
    rows = 44
    share = np.linspace(0, 1, rows)
    parting = rng.normal(0, 0.12)
    volume = thickness * (
        1
        + 0.25 * np.cos(azimuths - np.sign(parting) * 1.2)
        + (0.22 if curly else 0.10) * noise(np.stack([np.cos(azimuths), np.sin(azimuths)], 1), rng, 6)
    )
    taper = rng.uniform(-0.12, 0.10)
    wave, wave_length = rng.choice([0.0, rng.uniform(0.002, 0.006)]), rng.uniform(90, 220)
    heights = CENTRE[2] + skull * np.cos(polars)[None]
    points = np.empty((AZIMUTHS, rows, 3))
    for column in range(AZIMUTHS):
        points[column] = _strand(
            azimuths[column], skull[column], heights[column], polars, end[column], share, volume[column], taper
        )
    out = points - CENTRE * np.array([1, 1, 0]) - np.array([0, 0, 1]) * np.maximum(points[..., 2:], CENTRE[2])
    out /= np.linalg.norm(out, axis=-1, keepdims=True) + 1e-9
    flat = points.reshape(-1, 3)
    clumps = noise(flat * np.array([1, 1, 0.15], np.float32), rng, 130).reshape(AZIMUTHS, rows)
    curls = noise(flat, rng, 260 if curly else 90).reshape(AZIMUTHS, rows)
    ripple = wave * np.sin(points[..., 2] * wave_length + 0.8 * clumps)
    bumps = (
        0.09 * thickness * clumps + (0.13 if curly else 0.05) * thickness * curls + ripple * smoothstep(0.2, 0.6, share)
    )
    # The two ends of a strip lie on the same line at the back and must move alike.
    bumps[-1] = bumps[0]
    points += out * bumps[..., None]
    streaks = noise(
        np.stack(
            [np.repeat(np.sin(azimuths), rows), np.repeat(np.cos(azimuths), rows), np.tile(share, AZIMUTHS) * 0.15], 1
        ),
        rng,
        40,
    )
    streaks = 1 + 0.2 * streaks.reshape(AZIMUTHS, rows) + 0.10 * clumps + 0.08 * curls
    roots = 1 - rng.choice([0.0, rng.uniform(0, 0.5)]) * smoothstep(0.5, 0.0, share)
    streaks[-1] = streaks[0]
    albedo = look.hair * np.clip(streaks * roots, 0.3, 1.9)[..., None]
    flat = points.reshape(-1, 3)
    index = np.arange(AZIMUTHS * rows).reshape(AZIMUTHS, rows)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    triangles = np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])
    return Hair(
        _carry(anatomy, person, flat).astype(np.float32),
        flat[:, 2].astype(np.float32),
        albedo.reshape(-1, 3).astype(np.float32),
        np.ascontiguousarray(triangles, np.int32),
    )


def _strand(
    azimuth: float,
    skull: np.ndarray,
    heights: np.ndarray,
    polars: np.ndarray,
    end: float,
    share: np.ndarray,
    volume: float,
    taper: float,
) -> np.ndarray:
    """(rows, 3) points of one column from the crown to the height `end`."""
    across = skull * np.sin(polars)
    # Down the skull to its widest place (or the hairline), then straight down.
    widest = int(np.argmax(np.where(heights > 0.66, across, 0)))
    last = min(widest, int(np.searchsorted(-heights, -end)))
    last = max(last, 4)
    path_r, path_z = across[: last + 1], heights[: last + 1]
    if end < path_z[-1] - 0.004:
        drop = path_z[-1] - end
        steps = np.linspace(0, 1, 24)[1:]
        narrow = 1 + taper * smoothstep(0.02, 0.14, steps * drop)
        path_r, path_z = (
            np.concatenate([path_r, path_r[-1] * narrow]),
            np.concatenate([path_z, path_z[-1] - steps * drop]),
        )
    travelled = np.concatenate([[0], np.cumsum(np.hypot(np.diff(path_r), np.diff(path_z)))])
    at = share * travelled[-1]
    r, z = np.interp(at, travelled, path_r), np.interp(at, travelled, path_z)
    # Hair that ends on the skin closes down to it; hair that hangs keeps its volume.
    hangs = smoothstep(0.72, 0.66, np.array(end))
    close = 1 - (1 - hangs) * smoothstep(travelled[-1] - max(0.02, 1.2 * volume), travelled[-1], at)
    lift = volume * (0.15 + 0.85 * np.sqrt(np.clip(close, 0, 1)))
    slope_r, slope_z = np.gradient(r), np.gradient(z)
    norm = np.hypot(slope_r, slope_z) + 1e-9
    r, z = r - slope_z / norm * lift, z + slope_r / norm * lift
    r = np.maximum(r, 0)
    return np.stack([r * np.sin(azimuth), CENTRE[1] - r * np.cos(azimuth), z], -1)
