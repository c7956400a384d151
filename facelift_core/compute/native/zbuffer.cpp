// Z-buffer for the synthetic heads: vertex normals, shadow maps of distant lights, and shaded views.
// All arrays are row-major float32 unless said otherwise; triangles are int32 (T, 3).
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct Projected { float x, y, z; };

// Calls hit(pixel index, depth, w0, w1, w2) for every pixel center that the triangle covers.
// Depth and weights are perspective-correct when `perspective`, else affine.
template <bool perspective, class Hit>
inline void scan(const Projected& a, const Projected& b, const Projected& c, int size, Hit hit) {
  // Most triangles are smaller than a pixel and miss every center, so this test comes first.
  int x0 = std::max(0, (int)std::ceil(std::min(a.x, std::min(b.x, c.x)) - .5f));
  int x1 = std::min(size - 1, (int)std::floor(std::max(a.x, std::max(b.x, c.x)) - .5f));
  if (x0 > x1) return;
  int y0 = std::max(0, (int)std::ceil(std::min(a.y, std::min(b.y, c.y)) - .5f));
  int y1 = std::min(size - 1, (int)std::floor(std::max(a.y, std::max(b.y, c.y)) - .5f));
  if (y0 > y1) return;
  float area = (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
  if (std::fabs(area) < 1e-9f) return;
  float inverse = 1 / area;
  float ia = perspective ? 1 / a.z : 0, ib = perspective ? 1 / b.z : 0, ic = perspective ? 1 / c.z : 0;
  float dx0 = -(c.y - b.y) * inverse, dx1 = -(a.y - c.y) * inverse;
  for (int y = y0; y <= y1; y++) {
    float py = y + .5f, px = x0 + .5f;
    float w0 = ((b.x - px) * (c.y - py) - (b.y - py) * (c.x - px)) * inverse;
    float w1 = ((c.x - px) * (a.y - py) - (c.y - py) * (a.x - px)) * inverse;
    for (int x = x0; x <= x1; x++, w0 += dx0, w1 += dx1) {
      float w2 = 1 - w0 - w1;
      if (w0 < 0 || w1 < 0 || w2 < 0) continue;
      if (perspective) {
        float z = 1 / (w0 * ia + w1 * ib + w2 * ic);
        hit(y * size + x, z, w0 * ia * z, w1 * ib * z, w2 * ic * z);
      } else {
        hit(y * size + x, w0 * a.z + w1 * b.z + w2 * c.z, w0, w1, w2);
      }
    }
  }
}

// A camera's shoulder: highlights approach white instead of being cut there.
inline float shoulder(float x) {
  const float knee = .7f;
  return x < knee ? std::max(0.f, x) : knee + (1 - knee) * (1 - std::exp((knee - x) / (1 - knee)));
}

inline uint8_t srgb(float x) {
  x = std::min(1.f, std::max(0.f, x));
  x = x <= .0031308f ? 12.92f * x : 1.055f * std::pow(x, 1 / 2.4f) - .055f;
  return (uint8_t)(255 * x + .5f);
}

}  // namespace

// Area-weighted unit normals (V, 3) of a triangle mesh; zero where no triangle is.
extern "C" void vertex_normals(const float* vertices, int vertex_count, const int* triangles, int triangle_count,
                               float* normals) {
  std::memset(normals, 0, sizeof(float) * 3 * vertex_count);
  for (int t = 0; t < triangle_count; t++) {
    const int* q = triangles + 3 * t;
    const float *a = vertices + 3 * q[0], *b = vertices + 3 * q[1], *c = vertices + 3 * q[2];
    float u[3] = {b[0] - a[0], b[1] - a[1], b[2] - a[2]}, v[3] = {c[0] - a[0], c[1] - a[1], c[2] - a[2]};
    float n[3] = {u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]};
    for (int k = 0; k < 3; k++)
      for (int d = 0; d < 3; d++) normals[3 * q[k] + d] += n[d];
  }
  for (int i = 0; i < vertex_count; i++) {
    float* n = normals + 3 * i;
    float length = std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
    if (length > 0)
      for (int d = 0; d < 3; d++) n[d] /= length;
  }
}

// How much of each distant light reaches each vertex, (L, V) in [0, 1].
// directions (L, 3): unit vectors towards the lights. The map covers |p| <= extent with size x size cells; `bias` is
// how far behind the nearest surface, along the light, a vertex may lie and still be lit; the edge is softened over
// twice that and over 3 x 3 cells.
extern "C" void light_visibility(const float* vertices, int vertex_count, const int* triangles, int triangle_count,
                                 const float* directions, int light_count, float extent, int size, float bias,
                                 float* visibility) {
#pragma omp parallel for schedule(dynamic, 1)
  for (int l = 0; l < light_count; l++) {
    const float* z = directions + 3 * l;
    float up[3] = {0, 0, 1};
    if (std::fabs(z[2]) > .9f) { up[0] = 1; up[2] = 0; }
    float x[3] = {up[1] * z[2] - up[2] * z[1], up[2] * z[0] - up[0] * z[2], up[0] * z[1] - up[1] * z[0]};
    float length = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
    for (float& d : x) d /= length;
    float y[3] = {z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0]};
    std::vector<Projected> p(vertex_count);
    float half = .5f * size, scale = half / extent;
    for (int i = 0; i < vertex_count; i++) {
      const float* v = vertices + 3 * i;
      p[i] = {(v[0] * x[0] + v[1] * x[1] + v[2] * x[2]) * scale + half,
              (v[0] * y[0] + v[1] * y[1] + v[2] * y[2]) * scale + half, v[0] * z[0] + v[1] * z[1] + v[2] * z[2]};
    }
    std::vector<float> nearest(size * size, -1e9f);
    for (int t = 0; t < triangle_count; t++) {
      const int* q = triangles + 3 * t;
      scan<false>(p[q[0]], p[q[1]], p[q[2]], size, [&](int at, float depth, float, float, float) {
        if (depth > nearest[at]) nearest[at] = depth;
      });
    }
    for (int i = 0; i < vertex_count; i++) {
      int cx = (int)p[i].x, cy = (int)p[i].y, cells = 0;
      float lit = 0;
      for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) {
          int sx = cx + dx, sy = cy + dy;
          if (sx < 0 || sy < 0 || sx >= size || sy >= size) continue;
          float behind = (nearest[sy * size + sx] - p[i].z - bias) / (2 * bias);
          lit += 1 - std::min(1.f, std::max(0.f, behind));
          cells++;
        }
      visibility[(size_t)l * vertex_count + i] = cells ? lit / cells : 1;
    }
  }
}

// Shaded views of a mesh.
// colors (V, 3): linear light that leaves the vertex diffusely; gloss (V,): strength of its highlights, which are
// broad below 1 and small from 1 on.
// c2w (C, 4, 4) OpenCV; fxfycxcy (4,) in pixels of the size x size image; `supersampling` squared samples per pixel.
// lights (L, 6): unit direction towards the light, linear RGB; visibility (L, V) as above, for the highlights.
// Out: rgba (C, size, size, 4) uint8 sRGB with straight alpha, highlights compressed; depth (C, size, size) along the camera's axis, the mean
// over the pixel's samples on its front surface, 0 where nothing is.
extern "C" void render_views(const float* vertices, const float* normals, const float* colors, const float* gloss,
                             int vertex_count, const int* triangles, int triangle_count, const float* c2w,
                             int camera_count, const float* fxfycxcy, int size, int supersampling, const float* lights,
                             const float* visibility, int light_count, uint8_t* rgba, float* depth) {
  const float thickness = .06f;  // samples this close behind a pixel's nearest one are the same surface
  int S = size * supersampling;
#pragma omp parallel for schedule(dynamic, 1)
  for (int k = 0; k < camera_count; k++) {
    const float* M = c2w + 16 * k;
    float eye[3] = {M[3], M[7], M[11]};
    float fx = fxfycxcy[0] * supersampling, fy = fxfycxcy[1] * supersampling;
    float cx = fxfycxcy[2] * supersampling, cy = fxfycxcy[3] * supersampling;
    std::vector<Projected> p(vertex_count);
    for (int i = 0; i < vertex_count; i++) {
      float d[3] = {vertices[3 * i] - eye[0], vertices[3 * i + 1] - eye[1], vertices[3 * i + 2] - eye[2]};
      float x = M[0] * d[0] + M[4] * d[1] + M[8] * d[2], y = M[1] * d[0] + M[5] * d[1] + M[9] * d[2],
            z = M[2] * d[0] + M[6] * d[1] + M[10] * d[2];
      p[i] = {fx * x / z + cx, fy * y / z + cy, z};
    }
    std::vector<float> nearest(S * S, 1e9f), wa(S * S), wb(S * S);
    std::vector<int> face(S * S, -1);
    for (int t = 0; t < triangle_count; t++) {
      const int* q = triangles + 3 * t;
      if (p[q[0]].z < .1f || p[q[1]].z < .1f || p[q[2]].z < .1f) continue;
      scan<true>(p[q[0]], p[q[1]], p[q[2]], S, [&](int at, float z, float w0, float w1, float) {
        if (z < nearest[at]) {
          nearest[at] = z;
          face[at] = t;
          wa[at] = w0;
          wb[at] = w1;
        }
      });
    }
    for (int Y = 0; Y < size; Y++)
      for (int X = 0; X < size; X++) {
        float sum[3] = {0, 0, 0}, front = 1e9f, depths = 0;
        int covered = 0, near_count = 0;
        for (int j = 0; j < supersampling; j++)
          for (int i = 0; i < supersampling; i++)
            front = std::min(front, nearest[(Y * supersampling + j) * S + X * supersampling + i]);
        for (int j = 0; j < supersampling; j++)
          for (int i = 0; i < supersampling; i++) {
            int at = (Y * supersampling + j) * S + X * supersampling + i;
            if (face[at] < 0) continue;
            covered++;
            if (nearest[at] < front + thickness) {
              depths += nearest[at];
              near_count++;
            }
            const int* q = triangles + 3 * face[at];
            float w[3] = {wa[at], wb[at], 1 - wa[at] - wb[at]};
            float color[3] = {0, 0, 0}, shine = 0;
            for (int c = 0; c < 3; c++) {
              shine += w[c] * gloss[q[c]];
              for (int d = 0; d < 3; d++) color[d] += w[c] * colors[3 * q[c] + d];
            }
            if (shine > .004f) {
              float n[3] = {0, 0, 0}, v[3] = {eye[0], eye[1], eye[2]};
              for (int c = 0; c < 3; c++)
                for (int d = 0; d < 3; d++) {
                  n[d] += w[c] * normals[3 * q[c] + d];
                  v[d] -= w[c] * vertices[3 * q[c] + d];
                }
              float ln = 1 / std::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2] + 1e-12f);
              float lv = 1 / std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
              for (int m = 0; m < light_count; m++) {
                const float* L = lights + 6 * m;
                if (n[0] * L[0] + n[1] * L[1] + n[2] * L[2] <= 0) continue;
                float h[3], hh = 0, nh = 0;
                for (int d = 0; d < 3; d++) {
                  h[d] = L[d] + v[d] * lv;
                  hh += h[d] * h[d];
                  nh += n[d] * h[d];
                }
                nh = std::max(0.f, nh * ln / std::sqrt(hh + 1e-12f));
                float p2 = nh * nh, p4 = p2 * p2, p8 = p4 * p4, p24 = p8 * p8 * p8;
                float lobe = shine < 1 ? p24 : std::pow(p24, 10.f);  // Blinn-Phong, exponent 24, or 240 when wet
                const float* seen = visibility + (size_t)m * vertex_count;
                float amount = shine * lobe * (w[0] * seen[q[0]] + w[1] * seen[q[1]] + w[2] * seen[q[2]]);
                for (int d = 0; d < 3; d++) color[d] += amount * L[3 + d];
              }
            }
            for (int d = 0; d < 3; d++) sum[d] += shoulder(color[d]);
          }
        size_t out = ((size_t)k * size + Y) * size + X;
        for (int d = 0; d < 3; d++) rgba[4 * out + d] = covered ? srgb(sum[d] / covered) : 0;
        rgba[4 * out + 3] = (uint8_t)(255.f * covered / (supersampling * supersampling) + .5f);
        depth[out] = near_count ? depths / near_count : 0;
      }
  }
}
