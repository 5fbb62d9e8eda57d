// The transforms of minimal filtering (Winograd; Lavin and Gray 2016, arXiv 1509.09308) for kernels of 3 x 3. A tile of
// m x m outputs sees (m + 2) x (m + 2) inputs d and the kernel g, and is A^T [(G g G^T) * (B^T d B)] A, where *
// multiplies number by number: (m + 2)^2 multiplications in place of 9 m^2.
//
// The matrices come from values of polynomials at m + 1 points and at infinity (Toom and Cook). For 2 x 2 outputs, with
// the points 0, 1, -1, they are
//   B^T = 1  0 -1  0     G =  1    0    0     A^T = 1  1  1  0
//         0  1  1  0         1/2  1/2  1/2          0  1 -1 -1
//         0 -1  1  0         1/2 -1/2  1/2
//         0  1  0 -1          0    0    1
// For 4 x 4 outputs the points are 0, a, -a, b, -b with a^2 = 1/2 and b^2 = 2, where ab = 1:
//   B^T = 1   0 -5/2    0   1  0     G =    1       0     0     A^T = 1    1     1    1     1   0
//         0  -b   -2    a   1  0         -2/3  -2/3 a  -1/3           0    a    -a    b    -b   0
//         0   b   -2   -a   1  0         -2/3   2/3 a  -1/3           0  1/2   1/2    2     2   0
//         0  -a -1/2    b   1  0          1/6   1/6 b   1/3           0  a/2  -a/2   2b   -2b   1
//         0   a -1/2   -b   1  0          1/6  -1/6 b   1/3
//         0   1    0 -5/2   0  1            0       0     1
// Over 32 channels of normally distributed numbers these points have half the error of 0, 1, -1, 2, -2, twice that of the
// direct sum.
#pragma once

#include <cstdint>

namespace ddim_jax {

// Each transform applies one axis, from numbers that lie `step` apart to numbers that lie `to_step` apart.
#define DDIM_JAX_ALONG_AN_AXIS \
  template <typename V>        \
  static inline __attribute__((always_inline)) void Apply(const V* d, int step, V* y, int to_step)

// F(2 x 2, 3 x 3).
struct TwoByTwo {
  static constexpr int tile = 2, points = 16;
  struct ByB {  // B^T d
    static constexpr int from = 4, to = 4;
    DDIM_JAX_ALONG_AN_AXIS {
      y[0] = d[0] - d[2 * step], y[to_step] = d[step] + d[2 * step];
      y[2 * to_step] = d[2 * step] - d[step], y[3 * to_step] = d[step] - d[3 * step];
    }
  };
  struct ByG {  // G g
    static constexpr int from = 3, to = 4;
    DDIM_JAX_ALONG_AN_AXIS {
      V even = (d[0] + d[2 * step]) * 0.5f, odd = d[step] * 0.5f;
      y[0] = d[0], y[to_step] = even + odd, y[2 * to_step] = even - odd, y[3 * to_step] = d[2 * step];
    }
  };
  struct ByTransposedG {  // G^T u
    static constexpr int from = 4, to = 3;
    DDIM_JAX_ALONG_AN_AXIS {
      V even = (d[step] + d[2 * step]) * 0.5f;
      y[0] = d[0] + even, y[to_step] = (d[step] - d[2 * step]) * 0.5f, y[2 * to_step] = even + d[3 * step];
    }
  };
  struct ByA {  // A dy
    static constexpr int from = 2, to = 4;
    DDIM_JAX_ALONG_AN_AXIS {
      y[0] = d[0], y[to_step] = d[0] + d[step], y[2 * to_step] = d[0] - d[step], y[3 * to_step] = -d[step];
    }
  };
  struct ByTransposedA {  // A^T m
    static constexpr int from = 4, to = 2;
    DDIM_JAX_ALONG_AN_AXIS {
      y[0] = d[0] + d[step] + d[2 * step], y[to_step] = d[step] - d[2 * step] - d[3 * step];
    }
  };
};

// F(4 x 4, 3 x 3).
struct FourByFour {
  static constexpr int tile = 4, points = 36;
  static constexpr float a = 0.70710678118654752f, b = 1.41421356237309505f;
  struct ByB {
    static constexpr int from = 6, to = 6;
    DDIM_JAX_ALONG_AN_AXIS {
      V even = d[4 * step] - d[2 * step] * 2.0f, odd = (d[3 * step] - d[step] * 2.0f) * a;
      V second_even = d[4 * step] - d[2 * step] * 0.5f, second_odd = (d[3 * step] - d[step] * 0.5f) * b;
      y[0] = d[0] + d[4 * step] - d[2 * step] * 2.5f;
      y[to_step] = even + odd, y[2 * to_step] = even - odd;
      y[3 * to_step] = second_even + second_odd, y[4 * to_step] = second_even - second_odd;
      y[5 * to_step] = d[step] + d[5 * step] - d[3 * step] * 2.5f;
    }
  };
  struct ByG {
    static constexpr int from = 3, to = 6;
    DDIM_JAX_ALONG_AN_AXIS {
      V even = d[0] * (-2.0f / 3) - d[2 * step] * (1.0f / 3), odd = d[step] * (-2.0f / 3 * a);
      V second_even = d[0] * (1.0f / 6) + d[2 * step] * (1.0f / 3), second_odd = d[step] * (1.0f / 6 * b);
      y[0] = d[0], y[to_step] = even + odd, y[2 * to_step] = even - odd;
      y[3 * to_step] = second_even + second_odd, y[4 * to_step] = second_even - second_odd, y[5 * to_step] = d[2 * step];
    }
  };
  struct ByTransposedG {
    static constexpr int from = 6, to = 3;
    DDIM_JAX_ALONG_AN_AXIS {
      V even = d[step] + d[2 * step], odd = d[step] - d[2 * step];
      V second_even = d[3 * step] + d[4 * step], second_odd = d[3 * step] - d[4 * step];
      y[0] = d[0] - even * (2.0f / 3) + second_even * (1.0f / 6);
      y[to_step] = second_odd * (1.0f / 6 * b) - odd * (2.0f / 3 * a);
      y[2 * to_step] = (second_even - even) * (1.0f / 3) + d[5 * step];
    }
  };
  struct ByA {
    static constexpr int from = 4, to = 6;
    DDIM_JAX_ALONG_AN_AXIS {
      V even = d[0] + d[2 * step] * 0.5f, odd = (d[step] + d[3 * step] * 0.5f) * a;
      V second_even = d[0] + d[2 * step] * 2.0f, second_odd = (d[step] + d[3 * step] * 2.0f) * b;
      y[0] = d[0], y[to_step] = even + odd, y[2 * to_step] = even - odd;
      y[3 * to_step] = second_even + second_odd, y[4 * to_step] = second_even - second_odd, y[5 * to_step] = d[3 * step];
    }
  };
  struct ByTransposedA {
    static constexpr int from = 6, to = 4;
    DDIM_JAX_ALONG_AN_AXIS {
      V even = d[step] + d[2 * step], odd = (d[step] - d[2 * step]) * a;
      V second_even = d[3 * step] + d[4 * step], second_odd = (d[3 * step] - d[4 * step]) * b;
      y[0] = d[0] + even + second_even, y[to_step] = odd + second_odd;
      y[2 * to_step] = even * 0.5f + second_even * 2.0f;
      y[3 * to_step] = odd * 0.5f + second_odd * 2.0f + d[5 * step];
    }
  };
};

#undef DDIM_JAX_ALONG_AN_AXIS

// Both axes: [from, from] -> [to, to].
template <typename By, typename V>
inline __attribute__((always_inline)) void Transform(const V (&x)[By::from * By::from], V (&y)[By::to * By::to]) {
  V half[By::from * By::to];
#pragma GCC unroll 6
  for (int i = 0; i < By::from; ++i) By::Apply(x + i, By::from, half + i, By::from);
#pragma GCC unroll 6
  for (int i = 0; i < By::to; ++i) By::Apply(half + i * By::from, 1, y + i * By::to, 1);
}

}  // namespace ddim_jax
