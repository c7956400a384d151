"""Hair: a painted and raised scalp, and a sheet of combed hair over it that can hang as long as it likes.

The sheet is a grid in template coordinates. Its columns start at the crown, one per azimuth, follow the skull down to
the hairline, and may go on: over the forehead as a fringe, or straight down beside the neck as long hair. It is carried
to the person's head by the affine map that fits their scalp best; what it then misses lies within its thickness.
"""

from __future__ import annotations

import functools

import numpy as np

from .anatomy import Anatomy, Person, load_anatomy
from .appearance import Look, cloth_colour
from .fields import blend, linear, noise, smoothstep
from .pieces import Piece, piece, tube

CENTRE = np.array([0.0, -0.055, 0.755])
"""Middle of the skull; azimuth 0 is the front (−Y), ±180° the back, positive towards the subject's left."""
AZIMUTHS = 96
POLAR_STEPS = 40
ROWS = 44
POLAR_END = np.radians(125.0)

# Height of the hairline over |azimuth| in degrees: forehead, temple, sideburn, round the ear, nape.
_LINE_AZIMUTH = np.array([0.0, 30, 48, 62, 74, 84, 96, 108, 122, 145, 180])
_LINE_HEIGHT = np.array([0.801, 0.798, 0.778, 0.750, 0.716, 0.728, 0.744, 0.728, 0.690, 0.662, 0.652])


def grow(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    """Paints and raises the scalp of `look` in place and returns what lies over it: hair, a cap or a scarf."""
    female = person.female > 0.5
    cover = rng.random()
    if female and cover < 0.05:
        return _scarf(anatomy, person, look, rng)
    if cover > 0.95:
        _scalp(anatomy, look, rng, 0.002, 1.0, recede=0.0)
        return _cap(anatomy, person, rng)
    if rng.random() < (0.03 if female else 0.12):
        _scalp(anatomy, look, rng, 0.0, rng.choice([0.0, 0.25, 0.45]), recede=0.0)
        return []
    if rng.random() < (0.68 if female else 0.12):
        return _long_hair(anatomy, person, look, rng)
    return _short_hair(anatomy, person, look, rng)


def _long_hair(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    if rng.random() < 0.22:
        _scalp(anatomy, look, rng, rng.uniform(0.004, 0.009), 1.0, recede=0.0)
        return _gathered(anatomy, person, look, rng)
    _scalp(anatomy, look, rng, 0.002, 1.0, recede=0.0)
    length = rng.choice([rng.uniform(0.60, 0.68), rng.uniform(0.50, 0.60), rng.uniform(0.40, 0.50)])
    face = rng.uniform(52, 78) if rng.random() < 0.65 else rng.uniform(82, 108)
    ends = _ends(rng, length, face, fringe=rng.random() < 0.4)
    return [_sheet(anatomy, person, look.hair, rng, ends, rng.uniform(0.010, 0.028))]


def _short_hair(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    balding = person.female < 0.5 and rng.random() < 0.25 + 0.6 * (person.age - 0.6)
    recede = rng.uniform(0.0, 0.045) if balding else 0.0
    kind = rng.choice(["buzz", "short", "full"], p=[0.22, 0.38, 0.4])
    if kind == "buzz":
        _scalp(anatomy, look, rng, 0.002, rng.uniform(0.55, 0.95), recede)
        return []
    if kind == "short" or recede > 0.02:
        _scalp(anatomy, look, rng, rng.uniform(0.005, 0.013), 1.0, recede)
        return []
    _scalp(anatomy, look, rng, 0.003, 1.0, 0.0)
    curly = rng.random() < max(person.ancestry[0], 0.12)
    thickness = rng.uniform(0.022, 0.06) if curly else rng.uniform(0.010, 0.030)
    ends = _ends(rng, None, 0.0, fringe=rng.random() < 0.3)
    return [_sheet(anatomy, person, look.hair, rng, ends, thickness, curly)]


def _gathered(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    """A bun or a ponytail."""
    height = rng.uniform(0.73, 0.84)
    back = CENTRE + 0.098 * np.array([0.0, np.cos((height - CENTRE[2]) / 0.1), np.sin((height - CENTRE[2]) / 0.1)])
    if rng.random() < 0.5:
        size = rng.uniform(0.022, 0.038)
        steps = np.linspace(0, np.pi, 14)
        away = (back - CENTRE) / np.linalg.norm(back - CENTRE)
        path = back + (0.4 - np.cos(steps))[:, None] * 0.8 * size * away
        radius = size * np.sin(steps) + 1e-4
    else:
        steps = np.linspace(0, 1, 26)
        drop = rng.uniform(0.12, 0.28)
        path = np.stack(
            [rng.normal(0, 0.01) * steps, back[1] + 0.035 * np.sin(np.minimum(steps * 4, 2.4)), back[2] - drop * steps],
            1,
        )
        path[:, 2] += 0.02 * np.sin(np.minimum(steps * 6, np.pi))
        radius = rng.uniform(0.014, 0.026) * np.sqrt(np.sin(np.pi * np.clip(0.12 + 0.85 * steps, 0, 1)))
    vertices, triangles = tube(path, radius, 18)
    streaks = noise(vertices * np.array([1, 1, 0.2]), rng, 250)
    centre_line = np.repeat(path, 18, axis=0)
    vertices = centre_line + (vertices - centre_line) * (1 + 0.1 * streaks)[:, None]
    albedo = look.hair * np.clip(1 + 0.22 * streaks, 0.4, 1.8)[:, None]
    return [piece(_carry(anatomy, person, vertices), vertices[:, 2], albedo, triangles, _gloss(rng), 0.3)]


def _cap(anatomy: Anatomy, person: Person, rng: np.random.Generator) -> list[Piece]:
    azimuths, _ = _grid()
    turn = np.degrees(np.abs(azimuths))
    low = rng.uniform(-0.008, 0.008)
    ends = np.interp(turn, [0, 60, 95, 130, 180], [0.782, 0.765, 0.745, 0.715, 0.700]) + low
    return [_sheet(anatomy, person, linear(cloth_colour(rng)), rng, ends, rng.uniform(0.010, 0.018), cloth=True)]


def _scarf(anatomy: Anatomy, person: Person, look: Look, rng: np.random.Generator) -> list[Piece]:
    """A head scarf: a sheet around the face down to the shoulders, and cloth painted under the chin."""
    colour = linear(cloth_colour(rng))
    template = anatomy.template
    azimuth = np.degrees(np.abs(np.arctan2(template[:, 0], -(template[:, 1] - CENTRE[1]))))
    under = smoothstep(0.003, -0.003, template[:, 2] - 0.618 - 0.0012 * np.clip(azimuth - 25, 0, 60))
    around = smoothstep(60, 66, azimuth) + smoothstep(0.800, 0.806, template[:, 2])
    covered = np.clip(under + around, 0, 1) * (template[:, 2] > 0.50)
    covered[anatomy.vertices["eyes"]] = 0
    blend(look.albedo, colour, covered)
    look.gloss *= 1 - covered
    look.scatter *= (1 - covered).astype(np.float32)
    look.displacement = np.maximum(look.displacement, 0.006 * covered * under).astype(np.float32)
    ends = _ends(rng, rng.uniform(0.53, 0.60), rng.uniform(44, 52), fringe=False)
    return [_sheet(anatomy, person, colour, rng, ends, rng.uniform(0.010, 0.018), cloth=True)]


def _ends(rng: np.random.Generator, length: float | None, face: float, fringe: bool) -> np.ndarray:
    """(AZIMUTHS,) heights where the columns of a sheet end.

    Args:
        length: height of the ends of long hair, or None when all of it ends at the hairline.
        face: degrees from the front where long hair begins to hang.
    """
    azimuths, _ = _grid()
    turn = np.degrees(np.abs(azimuths))
    ends = hairline(azimuths) - 0.002
    if fringe:
        slant = rng.choice([0.0, rng.uniform(-0.03, 0.03)])
        drop = rng.uniform(0.758, 0.785) + slant * np.sin(azimuths) + 0.004 * np.sin(azimuths * 9 + rng.uniform(0, 6))
        ends = np.where(turn < 55, np.minimum(ends, drop), ends)
    if length is not None:
        hang = smoothstep(face - 8, face + 8, turn)
        # A whole number of waves, so that both ends of the strip, at the back, agree.
        bottom = length + 0.012 * np.sin(azimuths * rng.integers(2, 5) + rng.uniform(0, 6))
        ends = ends + (bottom - ends) * hang
    return ends


def _gloss(rng: np.random.Generator) -> float:
    return 0.05 * rng.uniform(0.3, 1.6)


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
    colour: np.ndarray,
    rng: np.random.Generator,
    ends: np.ndarray,
    thickness: float,
    curly: bool = False,
    cloth: bool = False,
) -> Piece:
    """The combed sheet, or the same in cloth: hardly any strands, and its edge does not close down to the skin."""
    azimuths, polars = _grid()
    skull = _skull()[0]
    share = np.linspace(0, 1, ROWS)
    circle = np.stack([np.sin(azimuths), np.cos(azimuths)], 1)  # noise of these agrees at both ends of the strip
    fuller_side = rng.choice([-1.2, 1.2])
    uneven = 0.25 * np.cos(azimuths - fuller_side) + (0.22 if curly else 0.10) * noise(circle, rng, 6)
    taper = rng.uniform(-0.12, 0.10)
    heights = CENTRE[2] + skull * np.cos(polars)
    hem = 0.45 if cloth else 0.15
    points = np.stack(
        [
            _strand(azimuth, *column, polars, share, taper, hem)
            for azimuth, *column in zip(azimuths, skull, heights, ends, thickness * (1 + uneven), strict=True)
        ]
    )
    stretched = points.reshape(-1, 3) * np.array([1, 1, 0.15])
    clumps = noise(stretched, rng, 130).reshape(points.shape[:2])
    curls = noise(points.reshape(-1, 3), rng, 260 if curly else 90).reshape(points.shape[:2])
    wave, wave_length = rng.choice([0.0, rng.uniform(0.002, 0.006)]), rng.uniform(90, 220)
    along = np.column_stack([np.repeat(circle, ROWS, 0), 0.15 * np.tile(share, AZIMUTHS)])
    streaks = 0.2 * noise(along, rng, 40).reshape(points.shape[:2]) + 0.10 * clumps + 0.08 * curls
    roots = 1 - rng.choice([0.0, rng.uniform(0, 0.5)]) * smoothstep(0.5, 0.0, share)
    if cloth:
        wave, streaks, clumps, roots = 0.0, 0.2 * streaks, 0.3 * clumps, 1.0

    outwards = points - CENTRE
    outwards[..., 2] = np.maximum(points[..., 2] - CENTRE[2], 0)
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True) + 1e-9
    bumps = thickness * (0.09 * clumps + (0.13 if curly else 0.05) * curls)
    bumps += wave * np.sin(points[..., 2] * wave_length + 0.8 * clumps) * smoothstep(0.2, 0.6, share)
    points += outwards * bumps[..., None]
    points[-1] = points[0]
    albedo = colour * np.clip((1 + streaks) * roots, 0.3, 1.9)[..., None]
    albedo[-1] = albedo[0]
    vertices = points.reshape(-1, 3)
    return piece(
        _carry(anatomy, person, vertices),
        vertices[:, 2],
        albedo.reshape(-1, 3),
        _strip_triangles(),
        _gloss(rng),
        0.0 if cloth else 0.3,
    )


@functools.cache
def _strip_triangles() -> np.ndarray:
    index = np.arange(AZIMUTHS * ROWS).reshape(AZIMUTHS, ROWS)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    return np.concatenate([np.stack([a, d, c], -1).reshape(-1, 3), np.stack([a, c, b], -1).reshape(-1, 3)])


def _strand(
    azimuth: float,
    skull: np.ndarray,
    heights: np.ndarray,
    end: float,
    volume: float,
    polars: np.ndarray,
    share: np.ndarray,
    taper: float,
    hem: float,
) -> np.ndarray:
    """(ROWS, 3) points of one column from the crown to the height `end`.

    Args:
        skull, heights: (POLAR_STEPS,) distance from CENTRE, and height, of the skull along the column.
        volume: thickness of the hair in metres.
        share: (ROWS,) places along the column, 0 at the crown, 1 at its end.
        taper: how much hanging hair widens on its way down.
        hem: part of the volume left at an end on the skin.
    """
    across = skull * np.sin(polars)
    # Down the skull to its widest place (or the hairline), then straight down.
    widest = int(np.argmax(np.where(heights > 0.66, across, 0)))
    last = max(min(widest, int(np.searchsorted(-heights, -end))), 4)
    path_r, path_z = across[: last + 1], heights[: last + 1]
    if end < path_z[-1] - 0.004:
        steps = np.linspace(0, 1, 24)[1:]
        drop = (path_z[-1] - end) * steps
        path_r = np.concatenate([path_r, path_r[-1] * (1 + taper * smoothstep(0.02, 0.14, drop))])
        path_z = np.concatenate([path_z, path_z[-1] - drop])
    travelled = np.concatenate([[0], np.cumsum(np.hypot(np.diff(path_r), np.diff(path_z)))])
    at = share * travelled[-1]
    r, z = np.interp(at, travelled, path_r), np.interp(at, travelled, path_z)
    # Hair that ends on the skin closes down to it; hair that hangs keeps its volume.
    hangs = smoothstep(0.72, 0.66, np.array(end))
    close = 1 - (1 - hangs) * smoothstep(travelled[-1] - max(0.02, 1.2 * volume), travelled[-1], at)
    lift = volume * (hem + (1 - hem) * np.sqrt(np.clip(close, 0, 1)))
    slope_r, slope_z = np.gradient(r), np.gradient(z)
    steepness = np.hypot(slope_r, slope_z) + 1e-9
    r, z = np.maximum(r - slope_z / steepness * lift, 0), z + slope_r / steepness * lift
    return np.stack([r * np.sin(azimuth), CENTRE[1] - r * np.cos(azimuth), z], -1)
