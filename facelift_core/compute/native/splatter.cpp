// Differentiable splatting of already projected Gaussians into small square images, on the CPU.
//
// One call renders `renders` pictures of `count` Gaussians each. Per Gaussian: footprint = mean u, v (pixels),
// conic a, b, c (inverse 2D covariance) and opacity; color; a place in `order` (near to far) and a radius in
// pixels (≤ 0: leave out). Blending is front to back as in 3D Gaussian splatting; pixel centers lie at +.5.
#include <algorithm>
#include <cmath>
#include <vector>

namespace {

constexpr float kAlphaMax = .99f, kAlphaMin = 1 / 255.f, kTransmittanceMin = 1e-3f, kExponentMin = -8.f;

struct Footprint {
  float u, v, a, b, c, opacity;
};

struct Window {
  int x0, x1, y0, y1;
  Window(const Footprint& f, float radius, int size)
      : x0(std::max(0, (int)std::floor(f.u - radius))), x1(std::min(size - 1, (int)std::floor(f.u + radius))),
        y0(std::max(0, (int)std::floor(f.v - radius))), y1(std::min(size - 1, (int)std::floor(f.v + radius))) {}
};

}  // namespace

extern "C" void splat_forward(int renders, int count, int size, const Footprint* footprints, const float* colors,
                              const int* order, const float* radii, float* image, float* transmittance, int* last) {
#pragma omp parallel for schedule(dynamic, 1)
  for (int r = 0; r < renders; r++) {
    const size_t first = (size_t)r * count, pixels = (size_t)size * size;
    float* rgb = image + 3 * pixels * r;
    float* t = transmittance + pixels * r;
    int* last_of = last + pixels * r;
    std::fill(rgb, rgb + 3 * pixels, 0.f);
    std::fill(t, t + pixels, 1.f);
    std::fill(last_of, last_of + pixels, -1);
    for (int j = 0; j < count; j++) {
      const size_t i = first + order[first + j];
      if (radii[i] <= 0) continue;
      const Footprint& f = footprints[i];
      const Window w(f, radii[i], size);
      for (int y = w.y0; y <= w.y1; y++)
        for (int x = w.x0; x <= w.x1; x++) {
          const size_t p = (size_t)y * size + x;
          if (t[p] < kTransmittanceMin) continue;
          const float dx = x + .5f - f.u, dy = y + .5f - f.v;
          const float exponent = -.5f * (f.a * dx * dx + 2 * f.b * dx * dy + f.c * dy * dy);
          if (exponent < kExponentMin) continue;
          const float alpha = std::min(kAlphaMax, f.opacity * std::exp(exponent));
          if (alpha < kAlphaMin) continue;
          const float weight = alpha * t[p];
          for (int d = 0; d < 3; d++) rgb[3 * p + d] += weight * colors[3 * i + d];
          t[p] *= 1 - alpha;
          last_of[p] = j;
        }
    }
  }
}

// Walks far to near, undoing the blending: `behind` holds dLoss/dColour · (everything behind the current Gaussian),
// with the gradient of the final transmittance folded in.
extern "C" void splat_backward(int renders, int count, int size, const Footprint* footprints, const float* colors,
                               const int* order, const float* radii, const float* transmittance, const int* last,
                               const float* image_grad, const float* transmittance_grad, Footprint* footprint_grad,
                               float* color_grad) {
#pragma omp parallel for schedule(dynamic, 1)
  for (int r = 0; r < renders; r++) {
    const size_t first = (size_t)r * count, pixels = (size_t)size * size;
    const float* rgb_grad = image_grad + 3 * pixels * r;
    const int* last_of = last + pixels * r;
    std::vector<float> t(transmittance + pixels * r, transmittance + pixels * (r + 1)), behind(pixels);
    for (size_t p = 0; p < pixels; p++) behind[p] = t[p] * transmittance_grad[pixels * r + p];
    for (int j = count - 1; j >= 0; j--) {
      const size_t i = first + order[first + j];
      if (radii[i] <= 0) continue;
      const Footprint& f = footprints[i];
      Footprint grad{0, 0, 0, 0, 0, 0};
      const Window w(f, radii[i], size);
      for (int y = w.y0; y <= w.y1; y++)
        for (int x = w.x0; x <= w.x1; x++) {
          const size_t p = (size_t)y * size + x;
          if (j > last_of[p]) continue;
          const float dx = x + .5f - f.u, dy = y + .5f - f.v;
          const float exponent = -.5f * (f.a * dx * dx + 2 * f.b * dx * dy + f.c * dy * dy);
          if (exponent < kExponentMin) continue;
          const float falloff = std::exp(exponent), unclamped = f.opacity * falloff;
          const float alpha = std::min(kAlphaMax, unclamped);
          if (alpha < kAlphaMin) continue;
          t[p] /= 1 - alpha;
          const float weight = alpha * t[p];
          float along = 0;
          for (int d = 0; d < 3; d++) {
            along += colors[3 * i + d] * rgb_grad[3 * p + d];
            color_grad[3 * i + d] += weight * rgb_grad[3 * p + d];
          }
          const float alpha_grad = t[p] * along - behind[p] / (1 - alpha);
          behind[p] += weight * along;
          if (unclamped >= kAlphaMax) continue;
          const float exponent_grad = alpha_grad * unclamped;
          grad.opacity += alpha_grad * falloff;
          grad.u += exponent_grad * (f.a * dx + f.b * dy);
          grad.v += exponent_grad * (f.b * dx + f.c * dy);
          grad.a -= .5f * exponent_grad * dx * dx;
          grad.b -= exponent_grad * dx * dy;
          grad.c -= .5f * exponent_grad * dy * dy;
        }
      footprint_grad[i] = grad;
    }
  }
}
