// Planes, as the direct convolutions and the gradient of their kernel read images in NHWC.
//
// In NHWC the channels of one group lie scattered, a few floats out of every pixel, and a power of two of channels puts
// neighbouring pixels into the same few sets of the first-level cache. So every task first copies its part of the image
// into planes, [plane][row][column][channel of the plane], with zeros where the image ends. From there the sums run in
// registers, one broadcast value times one vector of weights (or of gradients) at a time, without a branch.
#pragma once

#include "common.h"

namespace ddim_jax {

// Outputs of one tile, at most.
constexpr int kWide = kLanes == 16 ? 32 : 16;
constexpr int64_t kBlockColumns = 64, kBlockPixels = 256, kLeastTasks = 16;
constexpr int64_t kLine = 16, kAhead = 16;  // floats in a line of the cache, pixels that are fetched ahead

struct Geometry {  // of a convolution
  int64_t rows, columns, stride_rows, stride_columns, top, left;
};

// The result's pixels, cut into blocks that depend on the shape alone.
struct Blocks {
  int64_t rows, columns, down, across, count;
  explicit Blocks(const Shape& out) {
    columns = std::min(out.width, kBlockColumns);
    across = (out.width + columns - 1) / columns;
    rows = std::max<int64_t>(1, kBlockPixels / columns);
    while (rows > 1 && out.batch * across * ((out.height + rows - 1) / rows) < kLeastTasks) rows = (rows + 1) / 2;
    down = (out.height + rows - 1) / rows;
    count = out.batch * down * across;
  }
};

struct Block {
  int64_t n, row, column, rows, columns, pictures = 1;
  Block(const Blocks& blocks, const Shape& out, int64_t index)
      : n(index / (blocks.down * blocks.across)), row(index / blocks.across % blocks.down * blocks.rows),
        column(index % blocks.across * blocks.columns), rows(std::min(blocks.rows, out.height - row)),
        columns(std::min(blocks.columns, out.width - column)) {}
};

// Channels first .. first + planes * width of a rectangle of image n, as planes; zeros outside the image, and in the
// channels width .. padded of each plane.
inline void Pack(const float* x, const Shape& in, int64_t n, int64_t row, int64_t column, int64_t rows, int64_t columns,
                 int64_t first, int64_t planes, int64_t width, int64_t padded, float* to) {
  auto copy = [&](auto known_width) {
    int64_t w = decltype(known_width)::value ? decltype(known_width)::value : width;
    int64_t step = decltype(known_width)::value ? decltype(known_width)::value : padded;
    int64_t plane = rows * columns * step;
    for (int64_t r = 0; r < rows; ++r, to += columns * step) {
      bool inside = row + r >= 0 && row + r < in.height;
      int64_t begin = inside ? std::clamp<int64_t>(-column, 0, columns) : columns;
      int64_t end = inside ? std::clamp<int64_t>(in.width - column, begin, columns) : columns;
      for (int64_t p = 0; p < planes; ++p) {
        std::memset(to + p * plane, 0, begin * step * sizeof(float));
        std::memset(to + p * plane + end * step, 0, (columns - end) * step * sizeof(float));
      }
      // A place, not yet a pointer: outside the image it may lie outside the array.
      int64_t at = ((n * in.height + row + r) * in.width + column + begin) * in.channels + first;
      for (int64_t c = begin; c < end; ++c, at += in.channels) {
        // The pixels lie too far from each other for the processor to guess the next one.
        uintptr_t ahead = reinterpret_cast<uintptr_t>(x) + (at + kAhead * in.channels) * sizeof(float);
        for (int64_t i = 0; i < planes * w; i += kLine)
          __builtin_prefetch(reinterpret_cast<const void*>(ahead + i * sizeof(float)));
        float* target = to + c * step;
        const float* source = x + at;
        for (int64_t p = 0; p < planes; ++p, target += plane, source += w) {
          int64_t i = 0;
          for (; i + 4 <= w; i += 4) Store<4>(target + i, Load<4>(source + i));
          for (; i < w; ++i) target[i] = source[i];
          for (; i < step; ++i) target[i] = 0.0f;
        }
      }
    }
  };
  if (width == 4 && padded == 4) copy(Constant<4>{});
  else if (width == 8 && padded == 8) copy(Constant<8>{});
  else if (width == 16 && padded == 16) copy(Constant<16>{});
  else if (width == 32 && padded == 32) copy(Constant<32>{});
  else copy(Constant<0>{});
}

}  // namespace ddim_jax
