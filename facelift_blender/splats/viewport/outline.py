"""The outline of selected splats: the edge of their silhouettes, in the colors of the theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import bpy
import gpu
import numpy as np

from .arrays import PackedCloud
from .collect import Placed
from .drawing import Painter

_FRAGMENT = """
void main()
{
  ivec2 pixel = ivec2(gl_FragCoord.xy);
  ivec2 last = textureSize(silhouette, 0) - 1;
  if (texelFetch(silhouette, pixel, 0).a >= 0.5) {
    discard;
  }
  vec4 nearest = vec4(0.0);
  for (int y = -width; y <= width; y++) {
    for (int x = -width; x <= width; x++) {
      vec4 found = texelFetch(silhouette, clamp(pixel + ivec2(x, y), ivec2(0), last), 0);
      if (x * x + y * y <= width * width && found.a > nearest.a) {
        nearest = found;
      }
    }
  }
  float alpha = smoothstep(0.4, 0.6, nearest.a);
  vec3 color = nearest.rgb / max(nearest.a, 0.001);
  color = mix(color / 12.92, pow((color + 0.055) / 1.055, vec3(2.4)), step(vec3(0.04045), color));
  drawn = vec4(color * alpha, alpha);
}
"""
_VERTEX = """
void main()
{
  gl_Position = vec4(corner, 0.0, 1.0);
}
"""


class Outliner:
    """Draws outlines in one region. Needs a GPU context."""

    def __init__(self) -> None:
        self._shader = _outline_shader()
        self._silhouette: gpu.types.GPUOffScreen | None = None

    def draw(
        self,
        painter: Painter,
        clouds: Mapping[int, PackedCloud],
        places: Sequence[Placed],
        colors: Sequence[tuple[float, float, float] | None],
        view: np.ndarray,
        projection: np.ndarray,
        size: tuple[int, int],
        width: int,
    ) -> None:
        """Blend outlines over the bound framebuffer.

        Args:
            painter: of the region; the others but the last are as for its ``draw``.
            colors: displayed color of each place's outline, None if it has none.
            width: in pixels.
        """
        if self._silhouette is None or (self._silhouette.width, self._silhouette.height) != size:
            self._silhouette = gpu.types.GPUOffScreen(*size, format="RGBA8")
        with self._silhouette.bind():
            gpu.state.active_framebuffer_get().clear(color=(0.0, 0.0, 0.0, 0.0))
            painter.draw(clouds, places, view, projection, size, linear=False, plain=colors)
        self._shader.bind()
        self._shader.uniform_sampler("silhouette", self._silhouette.texture_color)
        self._shader.uniform_int("width", width)
        depth_test = gpu.state.depth_test_get()
        gpu.state.depth_test_set("NONE")
        gpu.state.blend_set("ALPHA_PREMULT")
        try:
            painter.quad.draw(self._shader)
        finally:
            gpu.state.blend_set("NONE")
            gpu.state.depth_test_set(depth_test)


def colors(context: bpy.types.Context, places: Sequence[Placed]) -> list[tuple[float, float, float] | None]:
    """Color of each place's outline in the viewport of `context`, None for those that are not selected."""
    overlay = context.space_data.overlay
    if not (overlay.show_overlays and overlay.show_outline_selected) or context.mode != "OBJECT":
        return [None] * len(places)
    theme, layer = context.preferences.themes[0].view_3d, context.view_layer
    by_state = {True: tuple(theme.object_active), False: tuple(theme.object_selected)}
    return [
        by_state[place.owner == layer.objects.active] if place.owner.select_get(view_layer=layer) else None
        for place in places
    ]


def width(context: bpy.types.Context) -> int:
    """In pixels."""
    preferences = context.preferences
    return round(1 + preferences.themes[0].view_3d.outline_width * preferences.system.pixel_size)


def _outline_shader() -> gpu.types.GPUShader:
    info = gpu.types.GPUShaderCreateInfo()
    info.push_constant("INT", "width")
    info.sampler(0, "FLOAT_2D", "silhouette")
    info.vertex_in(0, "VEC2", "corner")
    info.fragment_out(0, "VEC4", "drawn")
    info.vertex_source(_VERTEX)
    info.fragment_source(_FRAGMENT)
    return gpu.shader.create_from_info(info)
