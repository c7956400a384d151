"""A complete head: posed, placed as in an aligned portrait, lit, and ready to render."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...compute.native import load, pointer
from ...rendering import cameras
from .accessory_meshes import Piece
from .anatomy import PARTS, Anatomy, load_anatomy
from .appearance import WET, Look, paint
from .clothes import dress
from .fields import smoothstep
from .glasses import sample_glasses
from .hair import grow
from .jewelry import sample_jewelry
from .lighting import Lighting, irradiance, sample_lighting
from .people import displacement, sample_person

FACE_CENTER = (251.83270369057132, 280.0133630862363)
FACE_SIZE = 194.2749650813705
"""Position of the face after alignment (docs/model.md, 2) in a 512² front view: center of its box, and mean of the
box's width and height, in pixels."""
BOX_SCALE, BOX_SHIFT = 1.030, (-0.007, -0.096)
"""MTCNN's face box relative to the extent of :func:`face_vertices`: ratio of sizes, and offset of the center in units
of that size."""


@dataclass(frozen=True)
class Head:
    """A lit mesh in world units (docs/model.md, 5: Z up, face toward −Y).

    Attributes:
        vertices, normals, colors: (V, 3) float32; `colors` is the diffuse linear light that each vertex emits.
        gloss: (V,) float32.
        triangles: (T, 3) int32.
        lighting: the lights, for highlights.
        visibility: (L, V) float32, visibility of each light at each vertex.
        albedo: (V, 3) float32 linear RGB, without light.
    """

    vertices: np.ndarray
    normals: np.ndarray
    colors: np.ndarray
    gloss: np.ndarray
    triangles: np.ndarray
    lighting: Lighting
    visibility: np.ndarray
    albedo: np.ndarray


def make_head(seed: int, actions: dict[str, float] | None = None, lighting: Lighting | None = None) -> Head:
    """Generate the head with this seed; deterministic. Every aspect has its own random stream, so changing one does not
    affect the others.

    Args:
        actions: facial actions, such as {"jawOpen": 0.5}, in place of the random expression. The head is where it would
            be without them, so that several expressions of one seed are one person who moves only the face.
        lighting: other lights than those of the seed. The camera exposes for them, so their radiance is scaled.
    """
    anatomy = load_anatomy()
    streams = (np.random.default_rng([seed, part]) for part in range(8))
    shape, surface, hairstyle, pose, light, eyewear, clothing, jewels = streams
    person = sample_person(anatomy, shape, neutral=actions is not None)
    look = paint(anatomy, person, surface)
    pieces = dress(anatomy, person, look, clothing)
    pieces += grow(anatomy, person, look, hairstyle)
    pieces += sample_glasses(anatomy, person, eyewear) + sample_jewelry(anatomy, person, jewels)
    vertices, triangles = _assemble(anatomy, person.vertices, look, pieces)
    heights = np.concatenate([anatomy.template[:, 2], *(piece.heights for piece in pieces)])
    moved = vertices.copy()
    if actions:
        moved[: len(anatomy.template)] += displacement(anatomy, actions)
    vertices = _pose_and_place(anatomy, vertices, moved, heights, pose)
    normals = vertex_normals(vertices, triangles)

    albedo = np.concatenate([look.albedo, *(piece.albedo for piece in pieces)])
    gloss = np.concatenate([look.gloss, *(piece.gloss for piece in pieces)])
    scatter = np.concatenate([look.scatter, *(piece.scatter for piece in pieces)])
    own = sample_lighting(light)
    lighting = own if lighting is None else lighting
    arriving, visibility = irradiance(vertices, normals, triangles, scatter, lighting)
    _light_from_within(anatomy, arriving)
    exposure = _exposure(anatomy, albedo, arriving) * light.lognormal(0, 0.15)
    lighting = Lighting(lighting.directions, lighting.radiance * np.float32(exposure), lighting.lamps)
    colors = albedo * arriving * np.float32(exposure)
    shine = np.where(gloss < WET, np.float32(light.uniform(0.3, 1.0)), np.float32(1))
    return Head(vertices, normals, colors, gloss * shine, triangles, lighting, visibility, albedo)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(V, 3) float32 unit vertex normals, weighted by triangle area."""
    normals = np.empty_like(vertices)
    load("zbuffer").vertex_normals(
        pointer(vertices, np.float32), len(vertices), pointer(triangles, np.int32), len(triangles),
        pointer(normals, np.float32),
    )  # fmt: skip
    return normals


def _assemble(anatomy: Anatomy, body: np.ndarray, look: Look, pieces: list[Piece]) -> tuple[np.ndarray, np.ndarray]:
    """Merge the body, displaced along its normals, and the pieces into one mesh in template coordinates."""
    body = body + vertex_normals(body, anatomy.triangles["skin"]) * look.displacement[:, None]
    vertices, triangles, count = [body], [anatomy.triangles[part] for part in ("skin", *PARTS)], len(body)
    for piece in pieces:
        vertices.append(piece.vertices)
        triangles.append(piece.triangles + count)
        count += len(piece.vertices)
    return (
        np.ascontiguousarray(np.concatenate(vertices), np.float32),
        np.ascontiguousarray(np.concatenate(triangles), np.int32),
    )


def _pose_and_place(
    anatomy: Anatomy, still: np.ndarray, moved: np.ndarray, height: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Lower the shoulders, turn the head on its neck, and place it in world coordinates as in an aligned portrait.

    Args:
        still: (V, 3) vertices that determine the place.
        moved: (V, 3) the vertices to pose and place.
        height: (V,) heights on the template.
    """
    both = np.stack([still, moved]).astype(np.float64)
    shoulder = np.abs(both[..., 0]) - 0.11
    droop = rng.uniform(0.15, 0.45)
    both[..., 2] -= droop * np.clip(shoulder, 0, None) * smoothstep(0.60, 0.57, height)

    turn = smoothstep(0.555, 0.635, height)
    pivot = np.median(both[0, (height > 0.575) & (height < 0.60)], axis=0)
    spread = 13.0 if rng.random() < 0.25 else 5.0
    yaw = np.clip(rng.normal(0, spread), -24, 24)
    pitch, roll = np.clip(rng.normal(0, 4.5), -12, 12), np.clip(rng.normal(0, 3.5), -10, 10)
    for axis, degrees in ((2, yaw), (0, pitch), (1, roll)):
        both = _rotate(both, pivot, axis, np.radians(degrees) * turn)
    both = _rotate(both, pivot, 2, np.full(both.shape[1], np.radians(rng.normal(0, 3))))

    skull = height > 0.68
    middle = 0.5 * (both[0, skull].min(0) + both[0, skull].max(0))
    both -= [middle[0], middle[1], 0]
    face = face_vertices(anatomy)
    both *= 6.2  # meters to world units, approximately
    # Random offsets of the size that face detectors' boxes cause in alignment.
    scale = np.exp(np.clip(rng.normal(0, 0.03), -0.08, 0.08))
    target = np.array(FACE_CENTER) + np.clip(rng.normal(0, 0.013 * 512, 2), -18, 18)
    # The box depends on perspective, so its position and size are found iteratively.
    for _ in range(3):
        center, size = _face_box(both[0, face])
        both *= FACE_SIZE * scale / size
        center, _ = _face_box(both[0, face])
        depth = cameras.RADIUS + both[0, face, 1].mean()
        focal = float(cameras.intrinsics(512)[0])
        both[..., 0] += (target[0] - center[0]) * depth / focal
        both[..., 2] -= (target[1] - center[1]) * depth / focal
    return np.ascontiguousarray(both[1], np.float32)


def _rotate(points: np.ndarray, pivot: np.ndarray, axis: int, angles: np.ndarray) -> np.ndarray:
    """Rotate each point around the axis through the pivot by its own angle (radians)."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    offset = points - pivot
    cos, sin = np.cos(angles), np.sin(angles)
    rotated = points.copy()
    rotated[..., a] = pivot[a] + offset[..., a] * cos - offset[..., b] * sin
    rotated[..., b] = pivot[b] + offset[..., a] * sin + offset[..., b] * cos
    return rotated


def face_vertices(anatomy: Anatomy) -> np.ndarray:
    """Skin vertices from the chin to the middle of the forehead, the area in a face detector's box."""
    skin = anatomy.vertices["skin"]
    x, y, z = anatomy.template[skin].T
    return skin[(y < -0.085) & (z > 0.615) & (z < 0.78) & (np.abs(x) < 0.08)]


def _face_box(face: np.ndarray) -> tuple[np.ndarray, float]:
    """Center and mean side length of the face box that a detector would find, in pixels of the 512² front view."""
    focal, _, cx, cy = cameras.intrinsics(512).tolist()
    depth = cameras.RADIUS + face[:, 1]
    u, v = focal * face[:, 0] / depth + cx, cy - focal * face[:, 2] / depth
    low, high = np.array([u.min(), v.min()]), np.array([u.max(), v.max()])
    size = 0.5 * float((high - low).sum())
    return 0.5 * (low + high) + size * np.array(BOX_SHIFT), size * BOX_SCALE


def _light_from_within(anatomy: Anatomy, arriving: np.ndarray) -> None:
    """Give eyes and teeth at least a fraction of the face's light, in place: shadow maps are too coarse for eyelids and
    lips, and light scatters through skin and enamel there."""
    face = np.median(arriving[face_vertices(anatomy)], axis=0)
    for part, share in (("eyes", 0.75), ("teeth", 0.9)):
        own = anatomy.vertices[part]
        arriving[own] = np.maximum(arriving[own], share * face)


def _exposure(anatomy: Anatomy, albedo: np.ndarray, arriving: np.ndarray) -> float:
    """Camera exposure: brightens dark faces, but only partially."""
    face = face_vertices(anatomy)
    light = float(np.median(arriving[face].mean(1)))
    reflected = float(np.median(albedo[face].mean(1)))
    return 0.68 / max(light, 1e-3) * (0.32 / max(reflected, 1e-3)) ** 0.25
