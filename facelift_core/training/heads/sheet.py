"""A sheet of combed hair or cloth over the head, of any length.

The sheet is a grid in template coordinates with one column per azimuth. Each column starts at the crown and follows the
skull down to the hairline, where it ends or continues: over the forehead as bangs, or straight down beside the neck as
long hair. The affine map that best fits the scalp maps the sheet to the person's head; its thickness covers the
remaining error.
"""

from __future__ import annotations

import functools

import numpy as np

from .accessory_meshes import Piece, piece
from .anatomy import Anatomy, load_anatomy
from .fields import noise, smoothstep
from .people import Person

CENTER = np.array([0.0, -0.055, 0.755])
"""Center of the skull. Azimuth 0 is the front (−Y), ±180° the back; positive toward the subject's left."""
AZIMUTHS = 96
POLAR_STEPS = 40
ROWS = 44
POLAR_END = np.radians(125.0)

# Height of the hairline by |azimuth| in degrees: forehead, temple, sideburn, around the ear, nape.
_LINE_AZIMUTH = np.array([0.0, 30, 48, 62, 74, 84, 96, 108, 122, 145, 180])
_LINE_HEIGHT = np.array([0.801, 0.798, 0.778, 0.750, 0.716, 0.728, 0.744, 0.728, 0.690, 0.662, 0.652])


def hanging_ends(rng: np.random.Generator, length: float | None, face: float, fringe: bool) -> np.ndarray:
    """(AZIMUTHS,) heights at which the columns of a sheet end.

    Args:
        length: height of the ends of long hair, or None if all hair ends at the hairline.
        face: azimuth in degrees beyond which long hair hangs down.
        fringe: whether there are bangs.
    """
    azimuths, _ = grid()
    turn = np.degrees(np.abs(azimuths))
    ends = hairline(azimuths) - 0.002
    if fringe:
        slant = rng.choice([0.0, rng.uniform(-0.03, 0.03)])
        drop = rng.uniform(0.758, 0.785) + slant * np.sin(azimuths) + 0.004 * np.sin(azimuths * 9 + rng.uniform(0, 6))
        ends = np.where(turn < 55, np.minimum(ends, drop), ends)
    if length is not None:
        hang = smoothstep(face - 8, face + 8, turn)
        # A whole number of waves, so that both ends of the strip match at the back.
        bottom = length + 0.012 * np.sin(azimuths * rng.integers(2, 5) + rng.uniform(0, 6))
        ends = ends + (bottom - ends) * hang
    return ends


def hairline(azimuth: np.ndarray) -> np.ndarray:
    """Height of the hairline in meters at azimuths in radians."""
    return np.interp(np.abs(np.degrees(azimuth)), _LINE_AZIMUTH, _LINE_HEIGHT)


@functools.cache
def _skull() -> tuple[np.ndarray, np.ndarray]:
    """(AZIMUTHS, POLAR_STEPS) distance of the skull from CENTER, and the (4, n) fit matrix of the affine map."""
    anatomy = load_anatomy()
    skin = anatomy.vertices["skin"]
    outer = skin[(anatomy.masks["ears"][skin] < 0.1) & (anatomy.masks["inside-mouth"][skin] < 0.5)]
    offset = anatomy.template[outer] - CENTER
    distance = np.linalg.norm(offset, axis=1)
    polar = np.arccos(offset[:, 2] / distance)
    azimuths, polars = grid()
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
    # Use the outermost of the vertices nearest to each direction, because eyelids and nostrils lie behind the skin.
    closest = np.argsort(-(away.reshape(-1, 3) @ directions.T), axis=1)[:, :4]
    radius = np.linalg.norm(near, axis=1)[closest].max(1).reshape(away.shape[:2])
    for _ in range(2):
        radius = 0.5 * radius + 0.25 * (np.roll(radius, 1, 0) + np.roll(radius, -1, 0))
    return radius, _scalp_fit(anatomy)


def grid() -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(-np.pi, np.pi, AZIMUTHS), np.linspace(0.0, POLAR_END, POLAR_STEPS)


def _scalp_vertices(anatomy: Anatomy) -> np.ndarray:
    skin = anatomy.vertices["skin"]
    z, y = anatomy.template[skin, 2], anatomy.template[skin, 1]
    return skin[(z > 0.70) & ((z > 0.77) | (y > -0.09)) & (anatomy.masks["ears"][skin] < 0.1)]


def _scalp_fit(anatomy: Anatomy) -> np.ndarray:
    points = anatomy.template[_scalp_vertices(anatomy)].astype(np.float64)
    return np.linalg.pinv(np.concatenate([points, np.ones((len(points), 1))], 1))


def on_scalp(anatomy: Anatomy, person: Person, points: np.ndarray) -> np.ndarray:
    """Map template points to the person's head by the affine map that best fits the scalp."""
    matrix = _skull()[1] @ person.vertices[_scalp_vertices(anatomy)].astype(np.float64)
    return points @ matrix[:3] + matrix[3]


def combed_sheet(
    anatomy: Anatomy,
    person: Person,
    color: np.ndarray,
    rng: np.random.Generator,
    ends: np.ndarray,
    thickness: float,
    curly: bool = False,
    cloth: bool = False,
    gloss: float = 0.0,
    tips: np.ndarray | None = None,
) -> Piece:
    """Create a combed sheet of hair, or of cloth, with few strands and an edge that does not touch the skin."""
    azimuths, polars = grid()
    skull = _skull()[0]
    share = np.linspace(0, 1, ROWS)
    circle = np.stack([np.sin(azimuths), np.cos(azimuths)], 1)  # noise on a circle matches at both ends of the strip
    fuller_side = rng.choice([-1.2, 1.2])
    uneven = 0.25 * np.cos(azimuths - fuller_side) + (0.22 if curly else 0.10) * noise(circle, rng, 6)
    taper = rng.uniform(-0.12, 0.10)
    heights = CENTER[2] + skull * np.cos(polars)
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

    outwards = points - CENTER
    outwards[..., 2] = np.maximum(points[..., 2] - CENTER[2], 0)
    outwards /= np.linalg.norm(outwards, axis=-1, keepdims=True) + 1e-9
    bumps = min(thickness, 0.04) * (0.09 * clumps + (0.13 if curly else 0.05) * curls)
    bumps += wave * np.sin(points[..., 2] * wave_length + 0.8 * clumps) * smoothstep(0.2, 0.6, share)
    points += outwards * bumps[..., None]
    points[-1] = points[0]
    colors = color + np.zeros((*points.shape[:2], 3))
    if tips is not None:  # bleached or dyed toward the ends, or in strands
        colors += (tips - color) * smoothstep(0.2, 0.9, share + 0.8 * streaks)[..., None]
    albedo = colors * np.clip((1 + streaks) * roots, 0.3, 1.9)[..., None]
    albedo[-1] = albedo[0]
    vertices = points.reshape(-1, 3)
    return piece(
        on_scalp(anatomy, person, vertices),
        vertices[:, 2],
        albedo.reshape(-1, 3),
        _strip_triangles(),
        gloss,
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
    """(ROWS, 3) points of one column from the crown down to the height `end`.

    Args:
        skull, heights: (POLAR_STEPS,) distance of the skull from CENTER, and its height, along the column.
        volume: thickness of the hair in meters.
        polars: (POLAR_STEPS,) polar angles of those steps.
        share: (ROWS,) positions along the column, from 0 at the crown to 1 at its end.
        taper: how much hanging hair widens toward its end.
        hem: fraction of the volume that remains where the column ends on the skin.
    """
    across = skull * np.sin(polars)
    # Follow the skull to its widest point (or the hairline), then straight down.
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
    # Hair that ends on the skin tapers to it; hanging hair keeps its volume.
    hangs = smoothstep(0.72, 0.66, np.array(end))
    close = 1 - (1 - hangs) * smoothstep(travelled[-1] - max(0.02, 1.2 * volume), travelled[-1], at)
    lift = volume * (hem + (1 - hem) * np.sqrt(np.clip(close, 0, 1)))
    slope_r, slope_z = np.gradient(r), np.gradient(z)
    steepness = np.hypot(slope_r, slope_z) + 1e-9
    r, z = np.maximum(r - slope_z / steepness * lift, 0), z + slope_r / steepness * lift
    return np.stack([r * np.sin(azimuth), CENTER[1] - r * np.cos(azimuth), z], -1)
