"""Textures and the draw call. Everything in this module needs a GPU context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gpu
import numpy as np

from . import shader
from .arrays import PackedCloud, far_to_near, in_view, level_of_detail
from .collect import Placed

JACOBIAN_MARGIN = 1.3
"""Maximum distance from the image center at which the projection is linearized, in half image sizes, as in the
renderer."""

BUDGET = 1_000_000
"""Number of Gaussians that a region draws at most, on average: of more, those that count most in the view."""


class Store:
    """The shader and the textures that all regions share; uploads when point clouds have changed."""

    def __init__(self) -> None:
        self.shader = shader.splat_shader()
        self.quad = shader.quad()
        self.textures: dict[str, gpu.types.GPUTexture] = {}
        self.starts: dict[int, tuple[int, int]] = {}
        """Offset of each cloud in the splats, and in their spherical harmonics, by key."""
        self._uploaded: tuple[PackedCloud, ...] = ()

    def upload(self, clouds: Mapping[int, PackedCloud]) -> None:
        chosen = tuple(clouds.values())
        # Compare by identity, because a cloud that was read again can have the same key.
        if len(chosen) == len(self._uploaded) and all(a is b for a, b in zip(chosen, self._uploaded, strict=True)):
            return
        self._uploaded = chosen
        self.starts, splats, features = {}, 0, 0
        for key, cloud in clouds.items():
            self.starts[key] = (splats, features)
            splats += len(cloud.positions)
            features += cloud.features.shape[0] * cloud.features.shape[1]
        rest = [np.pad(cloud.features.reshape(-1, 3), ((0, 0), (0, 1))) for cloud in chosen]
        self.textures = {
            "splats": texture([cloud.texels.reshape(-1, 4) for cloud in chosen], "RGBA32F"),
            "features": texture(rest, "RGBA16F"),
        }


class Painter:
    """Draws point clouds in one region; re-sorts only when the view or a placement changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.quad = store.quad
        self._order: dict[str, gpu.types.GPUTexture] = {}
        self._sorted: tuple = ()
        self._count = 0

    def draw(
        self,
        clouds: Mapping[int, PackedCloud],
        places: Sequence[Placed],
        view: np.ndarray,
        projection: np.ndarray,
        size: tuple[int, int],
        *,
        linear: bool = True,
        depth: np.ndarray | None = None,
        plain: Sequence[tuple[float, float, float] | None] | None = None,
    ) -> None:
        """Blend `places` over the bound framebuffer.

        Args:
            clouds: point clouds by key.
            places: placements of the clouds.
            view: (4, 4) from world to view, y up and z backward.
            projection: (4, 4) from view to clip space.
            size: width and height of the framebuffer in pixels.
            linear: convert colors to linear light; otherwise they stay in display space.
            depth: (height, width) float32 depth that occludes splats, 1 for empty; by default, the framebuffer's depth.
            plain: for each place, a color for all of its splats, or None to leave it out. Nothing occludes them then.
        """
        if not places:
            return
        self._store.upload(clouds)
        self._sort(clouds, places, view, projection)
        near = 0.01 if projection[3, 3] > 0.5 else projection[2, 3] / (projection[2, 2] - 1.0)
        left, right = ((projection[0, 2] + side * JACOBIAN_MARGIN) / projection[0, 0] for side in (-1, 1))
        bottom, top = ((projection[1, 2] + side * JACOBIAN_MARGIN) / projection[1, 1] for side in (-1, 1))
        program = self._store.shader
        program.bind()
        before = np.ones((1, 1), np.float32) if depth is None else depth
        height, width = before.shape
        data = gpu.types.Buffer("FLOAT", before.size, np.ascontiguousarray(before).ravel())
        obstacles = {"obstacles": gpu.types.GPUTexture((width, height), format="R32F", data=data)}
        copies = {"copies": self._copies(clouds, places, view, plain)}
        for name, content in (self._store.textures | self._order | copies | obstacles).items():
            program.uniform_sampler(name, content)
        program.uniform_float("projection", projection.T.ravel().tolist())
        program.uniform_float("margins", (left, bottom, right, top))
        program.uniform_float("picture", (*size, near, float(linear)))
        program.uniform_float("by_obstacles", float(depth is not None))
        depth_test, depth_mask = gpu.state.depth_test_get(), gpu.state.depth_mask_get()
        gpu.state.depth_test_set("LESS_EQUAL" if depth is None and plain is None else "NONE")
        gpu.state.depth_mask_set(False)
        gpu.state.blend_set("ALPHA_PREMULT")
        try:
            self._store.quad.draw_instanced(program, instance_start=0, instance_count=self._count)
        finally:
            gpu.state.blend_set("NONE")
            gpu.state.depth_mask_set(depth_mask)
            gpu.state.depth_test_set(depth_test)

    def _sort(
        self, clouds: Mapping[int, PackedCloud], places: Sequence[Placed], view: np.ndarray, projection: np.ndarray
    ) -> None:
        to_view = [view @ place.matrix for place in places]
        total = sum(len(clouds[place.key].positions) for place in places)
        now = (*(id(clouds[place.key]) for place in places), np.stack(to_view).tobytes())
        now += (projection.tobytes(),) if total > BUDGET else ()
        if now == self._sorted:
            return
        self._sorted = now
        depths, choices = [], []
        for number, (place, matrix) in enumerate(zip(places, to_view, strict=True)):
            cloud, (first, _) = clouds[place.key], self._store.starts[place.key]
            depth = cloud.positions @ matrix[2, :3].astype(np.float32) + np.float32(matrix[2, 3])
            kept, shares = np.arange(len(depth)), np.ones(len(depth), np.float32)
            if total > BUDGET:
                kept, shares = chosen(cloud, matrix, projection, BUDGET * len(depth) // total)
            choice = np.empty((len(kept), 2), np.float32)
            choice[:, 0] = first + kept
            choice[:, 1] = number + (1.0 - shares)  # the fraction: what is left out around it
            depths.append(depth[kept])
            choices.append(choice)
        order = far_to_near(np.concatenate(depths))
        self._count = len(order)
        self._order["order"] = texture([np.concatenate(choices)[order]], "RG32F")

    def _copies(
        self,
        clouds: Mapping[int, PackedCloud],
        places: Sequence[Placed],
        view: np.ndarray,
        plain: Sequence[tuple[float, float, float] | None] | None,
    ) -> gpu.types.GPUTexture:
        """What the shader has to know of each place."""
        copies = np.zeros((len(places), shader.COPY_TEXELS, 4), np.float32)
        for number, place in enumerate(places):
            matrix = view @ place.matrix
            copies[number, :3] = matrix[:3]
            copies[number, 3] = *np.linalg.pinv(matrix)[:3, 3], clouds[place.key].features.shape[1]
            lengths = np.maximum(np.linalg.norm(matrix[:3, :3], axis=0), 1e-20)
            copies[number, 4] = *self._store.starts[place.key], *(lengths[:2] / lengths[2])
            if plain is not None:
                color = plain[number]
                copies[number, 5] = (*color, shader.PLAIN) if color else (0.0, 0.0, 0.0, shader.LEFT_OUT)
        return texture([copies.reshape(-1, 4)], "RGBA32F")


def chosen(
    cloud: PackedCloud, matrix: np.ndarray, projection: np.ndarray, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the Gaussians to draw in this view, and the share of all that each stands for.

    Args:
        cloud: N Gaussians.
        matrix: (4, 4) from the cloud to view space.
        projection: (4, 4) from view to clip space.
        budget: number to draw at most, on average.
    """
    centers = cloud.positions @ matrix[:3, :3].T.astype(np.float32) + matrix[:3, 3].astype(np.float32)
    shown = np.flatnonzero(in_view(centers, projection))
    sizes = cloud.sizes[shown]
    if projection[3, 3] < 0.5:
        sizes = sizes / np.maximum(-centers[shown, 2], 1e-6)
    kept, shares = level_of_detail(sizes, cloud.chances[shown], budget)
    return shown[kept], shares


def depth_without_lines() -> np.ndarray:
    """(height, width) depth of the bound framebuffer, without features that are one or two pixels wide.

    Since Blender 4.4, the depth contains grid and overlay lines, even faint ones, which would cut through splats.
    """
    _, _, width, height = gpu.state.viewport_get()
    read = gpu.state.active_framebuffer_get().read_depth(0, 0, width, height)
    read.dimensions = width * height
    depth = np.array(read, np.float32).reshape(height, width)
    for axis in (0, 1):  # maximum (farthest) of 3 × 3 pixels
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        wide = np.moveaxis(np.pad(depth, ends, mode="edge"), axis, 0)
        depth = np.moveaxis(np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:]), 0, axis)
    return depth


def texture(parts: list[np.ndarray], kind: str) -> gpu.types.GPUTexture:
    """Create a texture from the concatenated rows of `parts`, each (N, C) float32."""
    channels = parts[0].shape[1]
    count = sum(len(part) for part in parts)
    height = max(1, -(-count // shader.WIDTH))
    values = np.zeros((height * shader.WIDTH, channels), np.float32)
    np.concatenate(parts, out=values[:count])
    data = gpu.types.Buffer("FLOAT", values.size, values.ravel())
    return gpu.types.GPUTexture((shader.WIDTH, height), format=kind, data=data)
