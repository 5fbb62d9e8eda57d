// Tiles of a direct convolution: a few pixels, read from planes (planes.h), times one block of outputs, in registers.
#pragma once

#include <vector>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "common.h"

namespace ddim_jax {

// A tile is Rows(v) pixels times v vectors of outputs. It has to fit into the registers, 16 with AVX and 32 with AVX-512 or
// NEON, beside a broadcast value and v vectors of weights, and to be large enough that no sum waits for the one before.
constexpr int Rows(int vectors) { return kLanes == 8 && vectors > 1 ? 6 : vectors > 2 ? 4 : 8; }

// Where the pixels of a tile lie: anywhere, or side by side, which leaves the registers of their addresses free.
template <int kIn>
struct SideBySide {
  static bool Is(const int64_t* at, int pixels) {
    for (int p = 1; p < pixels; ++p)
      if (at[p] - at[0] != p * kIn) return false;
    return true;
  }
  constexpr int64_t operator[](int p) const { return p * kIn; }
};

// Rows(kVectors) pixels times one block of outputs. The pixels lie `at` floats from the plane's start, a tap `shifts` further.
template <int N, int kVectors, int kIn, typename At>
inline void ConvTile(const float* plane, At at, const std::vector<int64_t>& shifts, int64_t group_in,
                     const float* weights, typename Vector<N>::type (&sums)[Rows(kVectors)][kVectors]) {
  constexpr int kRows = Rows(kVectors);
  for (int p = 0; p < kRows; ++p)
    for (int v = 0; v < kVectors; ++v) sums[p][v] = typename Vector<N>::type{};
  int64_t inputs = kIn ? kIn : group_in;
  for (int64_t shift : shifts) {
    const float* x = plane + shift;
    for (int64_t i = 0; i < inputs; ++i, weights += N * kVectors) {
      typename Vector<N>::type w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = Load<N>(weights + v * N);
#pragma GCC unroll 8
      for (int p = 0; p < kRows; ++p)
        for (int v = 0; v < kVectors; ++v) sums[p][v] += x[at[p] + i] * w[v];
    }
  }
}

#if defined(__AVX__)
// One register that holds the products of kLanes / 4 input channels with 4 outputs.
#if defined(__AVX512F__)
struct Products {
  __m512 sums = _mm512_setzero_ps();
  inline __attribute__((always_inline)) void Add(const float* four, const float* weights) {
    const __m512i spread = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    __m512 inputs = _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(four)), spread);
    sums = _mm512_fmadd_ps(_mm512_loadu_ps(weights), inputs, sums);
  }
};
#else
struct Products {
  __m256 sums = _mm256_setzero_ps();
  inline __attribute__((always_inline)) void Add(const float* four, const float* weights) {
    const __m256i first = _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0), second = _mm256_set_epi32(3, 3, 3, 3, 2, 2, 2, 2);
    __m256 twice = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(four));
    sums += _mm256_loadu_ps(weights) * _mm256_permutevar_ps(twice, first);
    sums += _mm256_loadu_ps(weights + 8) * _mm256_permutevar_ps(twice, second);
  }
};
#endif

// The same for blocks of 4 outputs and input channels by fours, so that groups with few outputs do not leave most of a
// register empty.
template <int kIn, typename At>
inline void NarrowTile(const float* plane, At at, const std::vector<int64_t>& shifts, int64_t group_in,
                       const float* weights, typename Vector<4>::type (&sums)[Rows(1)][1]) {
  Products products[Rows(1)];
  int64_t inputs = kIn ? kIn : group_in;
  for (int64_t shift : shifts) {
    const float* x = plane + shift;
    for (int64_t i = 0; i < inputs; i += 4, weights += 16)
      for (int p = 0; p < Rows(1); ++p) products[p].Add(x + at[p] + i, weights);
  }
  for (int p = 0; p < Rows(1); ++p) {
    float values[kLanes];
    std::memcpy(values, &products[p].sums, sizeof(values));
    sums[p][0] = Load<4>(values) + Load<4>(values + 4);
    if constexpr (kLanes == 16) sums[p][0] += Load<4>(values + 8) + Load<4>(values + 12);
  }
}
#endif

// The same for blocks of one output: the vectors lie along the inputs, whose number is a multiple of theirs.
template <typename At>
inline void SingleTile(const float* plane, At at, const std::vector<int64_t>& shifts, int64_t group_in,
                       const float* weights, typename Vector<1>::type (&sums)[Rows(1)][1]) {
  typename Vector<kLanes>::type products[Rows(1)] = {};
  for (int64_t shift : shifts) {
    const float* x = plane + shift;
    for (int64_t i = 0; i < group_in; i += kLanes, weights += kLanes) {
      auto w = Load<kLanes>(weights);
#pragma GCC unroll 8
      for (int p = 0; p < Rows(1); ++p) products[p] += Load<kLanes>(x + at[p] + i) * w;
    }
  }
  for (int p = 0; p < Rows(1); ++p) {
    float sum = 0.0f;
    for (int lane = 0; lane < kLanes; ++lane) sum += products[p][lane];
    sums[p][0] = typename Vector<1>::type{sum};
  }
}

}  // namespace ddim_jax
