// What the value and the gradients of a convolution by minimal filtering share: tiles of images, their transformed pixels
// and products of matrices. F is TwoByTwo or FourByFour (winograd_transforms.h).
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "common.h"
#include "winograd_transforms.h"

namespace ddim_jax {

// Sums of a tile of a product: they fit into the registers (16 with AVX, 32 with AVX-512) beside the operands, and are
// enough that none waits for the one before.
constexpr int kSums = kLanes == 16 ? 24 : 12;
constexpr int64_t kBlock = 2 * kLanes;  // outputs of one tile of a product, at most
constexpr int64_t kLeastTasks = 16;
constexpr int64_t kLine = 16;  // floats in a line of the cache

template <int N>
using Floats = typename Vector<N>::type;

inline int64_t Ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }
// The distance of two points, not a power of two: they are to lie in different sets of the first-level cache.
inline int64_t Plane(int64_t size) { return size + 16; }

// Nearest upsampling before the convolution: images are read as if every pixel were there twice in both directions,
// with one line of zeros around. A tile of 2 x 2 then sees lines a, b, b, c, of which B makes a - b, 2 b, 0 and b - c: of
// the 16 points, 9 are left. On the way back the gradients of its 2 x 2 pixels are added, and the same points cancel.
inline bool IsZero(int64_t point, bool doubled) { return doubled && (point / 4 == 2 || point % 4 == 2); }

// A convolution with a kernel of 3 x 3 and tiles of `tile` outputs a side; after upsampling those are 2, with one line of
// zeros before the image?
inline bool IsThreeByThree(Sizes x, Sizes kernel, Sizes y, int64_t groups, const Window& window, int64_t tile,
                           bool doubled) {
  return IsConvolution(x, kernel, y, groups, window, doubled) && kernel[0] == 3 && kernel[1] == 3 &&
         (doubled ? tile == 2 && window.top == 1 && window.left == 1 : tile == 2 || tile == 4);
}

// sums[r][v] (+)= sum over k < count of a[r * row + k * step] * b[k * b_step + v], for `rows` x (kVectors * N) sums.
template <int N, int kVectors, int rows, bool kAdd>
inline void ProductTile(const float* a, int64_t row, int64_t step, const float* b, int64_t b_step, int64_t count,
                        float* sums, int64_t sums_row) {
  Floats<N> total[rows][kVectors];
#pragma GCC unroll 32
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v) total[r][v] = kAdd ? Load<N>(sums + r * sums_row + v * N) : Floats<N>{};
  for (int64_t k = 0; k < count; ++k, a += step, b += b_step) {
    Floats<N> w[kVectors];
    for (int v = 0; v < kVectors; ++v) w[v] = Load<N>(b + v * N);
#pragma GCC unroll 32
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < kVectors; ++v) total[r][v] += a[r * row] * w[v];
  }
#pragma GCC unroll 32
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v) Store<N>(sums + r * sums_row + v * N, total[r][v]);
}

// The same for any number of rows; up to kSums / kVectors - 1 more are computed, for which a and sums have to have room.
template <int N, int kVectors, bool kAdd>
inline void Product(const float* a, int64_t row, int64_t step, const float* b, int64_t b_step, int64_t count,
                    float* sums, int64_t sums_row, int64_t rows) {
  constexpr int kRows = kSums / kVectors;
  for (; rows > kRows / 2; rows -= kRows, a += kRows * row, sums += kRows * sums_row)
    ProductTile<N, kVectors, kRows, kAdd>(a, row, step, b, b_step, count, sums, sums_row);
  if (rows > 0) ProductTile<N, kVectors, kRows / 2, kAdd>(a, row, step, b, b_step, count, sums, sums_row);
}

// Floats at the start of a line of the cache, not initialised.
class Buffer {
 public:
  float* Get(int64_t size) {  // what was there before is lost
    if (size > size_) {
      size_ = 0;
      values_.reset(static_cast<float*>(std::aligned_alloc(64, Ceil(size, 16) * 64)));
      if (!values_) throw std::bad_alloc();
      size_ = size;
    }
    return values_.get();
  }

 private:
  struct Free {
    void operator()(float* values) const { std::free(values); }
  };
  std::unique_ptr<float, Free> values_;
  int64_t size_ = 0;
};

// The tiles of a batch of images, one after the other, and their number.
struct Tiles {
  int64_t side, down, across, count;
  Tiles(const Shape& out, int64_t side)
      : side(side), down(Ceil(out.height, side)), across(Ceil(out.width, side)), count(out.batch * down * across) {}
};

// The first output of a tile.
struct Tile {
  int64_t n, row, column;
  Tile(const Tiles& tiles, int64_t index)
      : n(index / (tiles.down * tiles.across)), row(index / tiles.across % tiles.down * tiles.side),
        column(index % tiles.across * tiles.side) {}
  void Next(const Tiles& tiles) {
    if ((column += tiles.side) < tiles.across * tiles.side) return;
    column = 0;
    if ((row += tiles.side) == tiles.down * tiles.side) row = 0, ++n;
  }
};

// `count` channels of the side x side pixels from (row, column) of image n, zeros outside of it, transformed:
// channel c of point p goes to to[p * plane + c / width * block + c % width].
template <typename By>
void TransformPixels(const float* x, const Shape& shape, int64_t n, int64_t row, int64_t column, bool doubled,
                     int64_t first, int64_t count, float* to, int64_t plane, int64_t width, int64_t block) {
  constexpr int side = By::from, kPoints = By::to * By::to, kTile = By::from == By::to ? side - 2 : side;
  static thread_local std::vector<float> zeros;
  if (int64_t(zeros.size()) < count) zeros.resize(count);
  const float *rows[side], *pixels[side * side];
  int64_t columns[side];  // -1: outside
  for (int i = 0; i < side; ++i) {
    int64_t r = (row + i) >> doubled, c = (column + i) >> doubled;  // -1 stays -1
    rows[i] = r >= 0 && r < shape.height ? x + (n * shape.height + r) * shape.width * shape.channels + first : nullptr;
    columns[i] = c >= 0 && c < shape.width ? c * shape.channels : -1;
  }
  for (int i = 0; i < side * side; ++i)
    pixels[i] = rows[i / side] && columns[i % side] >= 0 ? rows[i / side] + columns[i % side] : zeros.data();
  // What the tile after the next one is the first to see: it lies too far from this one for the processor to guess.
  int64_t after = std::max<int64_t>(0, (column + side + kTile + doubled) >> doubled);
  for (int64_t c = after; c < std::min(shape.width, after + (kTile >> doubled)); ++c)
    for (int i = 0; i < side; ++i)
      for (int64_t channel = 0; rows[i] && (i == 0 || rows[i] != rows[i - 1]) && channel < count; channel += kLine)
        __builtin_prefetch(rows[i] + c * shape.channels + channel);
  int64_t channel = 0;
  auto sweep = [&](auto lanes) {
    constexpr int N = decltype(lanes)::value;
    for (; channel + N <= count; channel += N) {
      Floats<N> values[side * side], transformed[kPoints];
#pragma GCC unroll 36
      for (int i = 0; i < side * side; ++i) values[i] = Load<N>(pixels[i] + channel);
      Transform<By>(values, transformed);
      float* target = to + channel / width * block + channel % width;
#pragma GCC unroll 36
      for (int p = 0; p < kPoints; ++p) Store<N>(target + p * plane, transformed[p]);
    }
  };
  sweep(Constant<kLanes>{});
  sweep(Constant<4>{});
  sweep(Constant<1>{});
}

}  // namespace ddim_jax
