"""The shader: one quad per Gaussian, aligned to its projected ellipse (EWA, as in 3D Gaussian Splatting)."""

from __future__ import annotations

import gpu

from ..nodes import SPECK
from .arrays import TEXELS

WIDTH = 4096
"""Width of all textures in texels."""
COPY_TEXELS = 6
"""Texels per placed cloud: three rows of the object-to-view matrix; eye position in object space and number of
features; offsets of its splats and features, and lengths of the object's x and y axes in lengths of its z axis; plain
color, and whether it has one (PLAIN) or is left out (LEFT_OUT)."""
PLAIN, LEFT_OUT = 1.0, -1.0

_VERTEX = """
vec4 gaussian(int splat, int part)
{
  int texel = splat * TEXELS + part;
  return texelFetch(splats, ivec2(texel % WIDTH, texel / WIDTH), 0);
}

vec4 placing(int number, int part)
{
  int texel = number * COPY_TEXELS + part;
  return texelFetch(copies, ivec2(texel % WIDTH, texel / WIDTH), 0);
}

vec3 feature(int number)
{
  return texelFetch(features, ivec2(number % WIDTH, number / WIDTH), 0).rgb;
}

/* Degrees 1 to 3 of the spherical harmonics, in the order and with the signs of 3D Gaussian Splatting. */
vec3 towards(vec3 d, int first, int count)
{
  float x = d.x, y = d.y, z = d.z;
  vec3 color = 0.4886025119 * (z * feature(first + 1) - y * feature(first) - x * feature(first + 2));
  if (count > 3) {
    color += 1.0925484306 * (x * y * feature(first + 3) - y * z * feature(first + 4) - x * z * feature(first + 6));
    color += 0.3153915653 * (2.0 * z * z - x * x - y * y) * feature(first + 5);
    color += 0.5462742153 * (x * x - y * y) * feature(first + 7);
  }
  if (count > 8) {
    float ring = 4.0 * z * z - x * x - y * y;
    color += -0.5900435899 * y * (3.0 * x * x - y * y) * feature(first + 8);
    color += 2.8906114426 * x * y * z * feature(first + 9);
    color += -0.4570457995 * ring * (y * feature(first + 10) + x * feature(first + 12));
    color += 0.3731763326 * z * (2.0 * z * z - 3.0 * x * x - 3.0 * y * y) * feature(first + 11);
    color += 1.4453057213 * z * (x * x - y * y) * feature(first + 13);
    color += -0.5900435899 * x * (x * x - 3.0 * y * y) * feature(first + 14);
  }
  return color;
}

void main()
{
  gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  corner_in_reach = vec2(0.0);
  color_and_opacity = vec4(0.0);
  decay = 0.0;

  vec2 chosen = texelFetch(order, ivec2(gl_InstanceID % WIDTH, gl_InstanceID / WIDTH), 0).rg;
  int splat = int(chosen.x);
  int number = int(chosen.y);
  float area = 1.0 / max(1.0 - fract(chosen.y), 0.001); /* of those left out, too */
  vec4 row_x = placing(number, 0), row_y = placing(number, 1), row_z = placing(number, 2);
  vec4 eye = placing(number, 3);
  vec4 plain = placing(number, 5);
  vec4 stored = gaussian(splat, 0);
  vec4 position = vec4(stored.xyz, 1.0);
  vec3 center = vec3(dot(row_x, position), dot(row_y, position), dot(row_z, position));
  float opacity = stored.w;
  bool perspective = projection[3][3] < 0.5;
  if (plain.w < 0.0 || opacity < 1.0 / 255.0 || (perspective && -center.z < picture.z)) {
    return;
  }

  /* Rows of the projection's derivative, in pixels per unit of object space. */
  float focal_x = projection[0][0] * picture.x * 0.5, focal_y = projection[1][1] * picture.y * 0.5;
  float per_depth = perspective ? -1.0 / center.z : 1.0;
  vec2 slope = perspective ? clamp(center.xy * per_depth, margins.xy, margins.zw) : vec2(0.0);
  vec3 to_x = (row_x.xyz + slope.x * row_z.xyz) * (focal_x * per_depth);
  vec3 to_y = (row_y.xyz + slope.y * row_z.xyz) * (focal_y * per_depth);
  vec4 upper = gaussian(splat, 1), lower = gaussian(splat, 2);
  vec3 spread_x = vec3(dot(upper.xyz, to_x), dot(vec3(upper.y, upper.w, lower.x), to_x),
                       dot(vec3(upper.z, lower.x, lower.y), to_x));
  vec3 spread_y = vec3(dot(upper.xyz, to_y), dot(vec3(upper.y, upper.w, lower.x), to_y),
                       dot(vec3(upper.z, lower.x, lower.y), to_y));
  float xx = dot(to_x, spread_x) * area + LOW_PASS, xy = dot(to_x, spread_y) * area;
  float yy = dot(to_y, spread_y) * area + LOW_PASS;

  float middle = 0.5 * (xx + yy), difference = 0.5 * (xx - yy);
  float offset = sqrt(difference * difference + xy * xy);
  float angle = 0.5 * atan(xy, difference);
  if (offset == 0.0) {
    angle = 0.0;
  }
  decay = log(255.0 * opacity);
  float reach = sqrt(2.0 * decay);
  vec2 axis = vec2(cos(angle), sin(angle));
  vec2 pixels = axis * (corner.x * reach * sqrt(middle + offset));
  pixels += vec2(-axis.y, axis.x) * (corner.y * reach * sqrt(max(middle - offset, 0.0)));

  vec3 color = gaussian(splat, 3).rgb;
  int count = int(eye.w);
  if (count > 0) {
    int local = splat - int(placing(number, 4).x);
    vec3 seen = (stored.xyz - eye.xyz) * vec3(placing(number, 4).zw, 1.0);
    color += towards(normalize(seen), int(placing(number, 4).y) + local * count, count);
  }
  if (plain.w > 0.0) {
    color = plain.rgb;
  }
  color = max(color, vec3(0.0));
  if (picture.w > 0.5) {
    color = mix(color / 12.92, pow((color + 0.055) / 1.055, vec3(2.4)), step(vec3(0.04045), color));
  }
  color_and_opacity = vec4(color, opacity);
  corner_in_reach = corner;
  vec4 clip = projection * vec4(center, 1.0);
  /* In front of the engine's own speck in its middle. */
  float ahead = 2.0 * SPECK * length(row_z.xyz) * sqrt(upper.x + upper.w + lower.y);
  vec4 nearer = projection * vec4(center.xy, center.z + ahead, 1.0);
  float depth = perspective && nearer.w < picture.z ? clip.z : nearer.z / nearer.w * clip.w;
  gl_Position = vec4(clip.xy + pixels * 2.0 / picture.xy * clip.w, depth, clip.w);
}
"""

_FRAGMENT = """
void main()
{
  float squared = dot(corner_in_reach, corner_in_reach);
  if (squared > 1.0) {
    discard;
  }
  if (by_obstacles > 0.5 && gl_FragCoord.z > texelFetch(obstacles, ivec2(gl_FragCoord.xy), 0).r) {
    discard;
  }
  /* At the edge of the reach alpha is 1/255. */
  float alpha = min(0.99, color_and_opacity.a * exp(-decay * squared));
  drawn = vec4(color_and_opacity.rgb * alpha, alpha);
}
"""


def splat_shader() -> gpu.types.GPUShader:
    """Compile the shader. Needs a GPU context."""
    info = gpu.types.GPUShaderCreateInfo()
    constants = {"WIDTH": WIDTH, "TEXELS": TEXELS, "COPY_TEXELS": COPY_TEXELS, "LOW_PASS": 0.3, "SPECK": SPECK}
    for name, value in constants.items():
        info.define(name, str(value))
    info.push_constant("MAT4", "projection")
    info.push_constant("VEC4", "margins")  # minimum and maximum slopes at which it is linearized
    info.push_constant("VEC4", "picture")  # width, height, near plane, 1 to convert colors to linear
    info.push_constant("FLOAT", "by_obstacles")  # 1 to occlude by the texture, 0 by the depth test
    for slot, name in enumerate(("order", "splats", "copies", "features", "obstacles")):
        info.sampler(slot, "FLOAT_2D", name)
    info.vertex_in(0, "VEC2", "corner")
    passed = gpu.types.GPUStageInterfaceInfo("facelift_splat")
    passed.smooth("VEC2", "corner_in_reach")
    passed.flat("VEC4", "color_and_opacity")
    passed.flat("FLOAT", "decay")
    info.vertex_out(passed)
    info.fragment_out(0, "VEC4", "drawn")
    info.vertex_source(_VERTEX)
    info.fragment_source(_FRAGMENT)
    return gpu.shader.create_from_info(info)


def quad() -> gpu.types.GPUBatch:
    layout = gpu.types.GPUVertFormat()
    layout.attr_add(id="corner", comp_type="F32", len=2, fetch_mode="FLOAT")
    corners = gpu.types.GPUVertBuf(layout, 4)
    corners.attr_fill("corner", [(-1, -1), (1, -1), (-1, 1), (1, 1)])
    return gpu.types.GPUBatch(type="TRI_STRIP", buf=corners)
