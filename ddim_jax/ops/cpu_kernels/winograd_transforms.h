// The transforms of minimal filtering, F(2 x 2, 3 x 3) of Lavin and Gray (2016, arXiv 1509.09308). A tile of 2 x 2
// outputs sees 4 x 4 inputs d and the kernel g:
//   B^T = 1  0 -1  0     G =  1    0    0     A^T = 1  1  1  0
//         0  1  1  0         1/2  1/2  1/2          0  1 -1 -1
//         0 -1  1  0         1/2 -1/2  1/2
//         0  1  0 -1          0    0    1
// and the outputs are A^T [(G g G^T) * (B^T d B)] A, where * multiplies number by number.
#pragma once

namespace ddim_jax {

// One axis of each transform, from numbers that lie `step` apart to numbers that lie `to_step` apart.
struct ByB {  // B^T d
  static constexpr int from = 4, to = 4;
  template <typename V>
  static inline __attribute__((always_inline)) void Apply(const V* d, int step, V* y, int to_step) {
    y[0] = d[0] - d[2 * step], y[to_step] = d[step] + d[2 * step];
    y[2 * to_step] = d[2 * step] - d[step], y[3 * to_step] = d[step] - d[3 * step];
  }
};
struct ByG {  // G g
  static constexpr int from = 3, to = 4;
  template <typename V>
  static inline __attribute__((always_inline)) void Apply(const V* g, int step, V* y, int to_step) {
    V even = (g[0] + g[2 * step]) * 0.5f, odd = g[step] * 0.5f;
    y[0] = g[0], y[to_step] = even + odd, y[2 * to_step] = even - odd, y[3 * to_step] = g[2 * step];
  }
};
struct ByTransposedG {  // G^T u
  static constexpr int from = 4, to = 3;
  template <typename V>
  static inline __attribute__((always_inline)) void Apply(const V* u, int step, V* y, int to_step) {
    V even = (u[step] + u[2 * step]) * 0.5f;
    y[0] = u[0] + even, y[to_step] = (u[step] - u[2 * step]) * 0.5f, y[2 * to_step] = even + u[3 * step];
  }
};
struct ByA {  // A dy
  static constexpr int from = 2, to = 4;
  template <typename V>
  static inline __attribute__((always_inline)) void Apply(const V* d, int step, V* y, int to_step) {
    y[0] = d[0], y[to_step] = d[0] + d[step], y[2 * to_step] = d[0] - d[step], y[3 * to_step] = -d[step];
  }
};
struct ByTransposedA {  // A^T m
  static constexpr int from = 4, to = 2;
  template <typename V>
  static inline __attribute__((always_inline)) void Apply(const V* m, int step, V* y, int to_step) {
    y[0] = m[0] + m[step] + m[2 * step], y[to_step] = m[step] - m[2 * step] - m[3 * step];
  }
};

// Both axes: [from, from] -> [to, to].
template <typename By, typename V>
inline __attribute__((always_inline)) void Transform(const V (&x)[By::from * By::from], V (&y)[By::to * By::to]) {
  V half[By::from * By::to];
  for (int i = 0; i < By::from; ++i) By::Apply(x + i, By::from, half + i, By::from);
  for (int i = 0; i < By::to; ++i) By::Apply(half + i * By::from, 1, y + i * By::to, 1);
}

}  // namespace ddim_jax
