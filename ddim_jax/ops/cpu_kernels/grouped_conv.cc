// Grouped convolution of float32 pictures in NHWC: its value and the gradients of both operands.
//
// In NHWC the channels of one group lie scattered, a few floats out of every pixel, and a power of two of channels puts
// neighbouring pixels into the same few sets of the first-level cache. So every task first copies its part of the picture
// into planes, [plane][row][column][channel of the plane], with zeros where the picture ends. From there the sums run in
// registers, one broadcast value times one vector of weights (or of gradients) at a time, without a branch.

#include <array>
#include <vector>

#if defined(__AVX__)
#include <immintrin.h>
#endif

#include "common.h"

namespace ddim_jax {

// Outputs of one tile, at most.
constexpr int kWide = kLanes == 16 ? 32 : 16;

// A tile is Rows(v) pixels times v vectors of outputs. It has to fit into the registers, 16 with AVX and 32 with AVX-512 or
// NEON, beside a broadcast value and v vectors of weights, and to be large enough that no sum waits for the one before.
constexpr int Rows(int vectors) { return kLanes == 8 && vectors > 1 ? 6 : vectors > 2 ? 4 : 8; }
// The same of the kernel's gradient: inputs, which come by eights.
constexpr int Inputs(int vectors) { return kLanes < 16 && vectors > 1 ? 4 : 8; }
constexpr int64_t kBlockColumns = 64, kBlockPixels = 256, kLeastTasks = 16;
constexpr int64_t kLine = 16, kAhead = 16;  // floats in a line of the cache, pixels that are fetched ahead

struct Geometry {  // of the kernel
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

// Channels first .. first + planes * width of a rectangle of picture n, as planes; zeros outside the picture, and in the
// channels width .. padded of each plane.
void Pack(const float* x, const Shape& in, int64_t n, int64_t row, int64_t column, int64_t rows, int64_t columns,
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
      const float* pixel = x + ((n * in.height + row + r) * in.width + column + begin) * in.channels + first;
      for (int64_t c = begin; c < end; ++c, pixel += in.channels) {
        // The pixels lie too far from each other for the processor to guess the next one.
        for (int64_t i = 0; i < planes * w; i += kLine) __builtin_prefetch(pixel + kAhead * in.channels + i);
        float* target = to + c * step;
        const float* source = pixel;
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

// Some taps of a kernel, as the convolution reads them: [group][block of outputs][tap][input channel][output of the block].
// Taps are row, row + row_step, ... and column, column + column_step, ...
struct Taps {
  int64_t rows, columns, row, column, row_step, column_step;
};

struct PackedKernel {
  int64_t rows, columns, group_in, group_out, block, blocks;
  std::vector<float> values;

  // `transposed` gives the kernel of the gradient with respect to x: taps reversed, inputs and outputs exchanged.
  PackedKernel(ffi::ThreadPool& pool, const Array& kernel, int64_t groups, int64_t block_, const Taps& taps,
               bool transposed)
      : rows(taps.rows), columns(taps.columns), block(block_) {
    auto d = kernel.dimensions();
    int64_t in = d[2], out = d[3] / groups;
    group_in = transposed ? out : in, group_out = transposed ? in : out;
    blocks = (group_out + block - 1) / block;
    values.assign(groups * blocks * rows * columns * group_in * block, 0.0f);
    ParallelFor(pool, groups * blocks, [&](int64_t task) {
      int64_t g = task / blocks, first = task % blocks * block, count = std::min(block, group_out - first);
      float* to = values.data() + At(g, task % blocks);
      for (int64_t tap = 0; tap < rows * columns; ++tap) {
        int64_t from = transposed ? rows * columns - 1 - tap : tap;
        int64_t row = taps.row + from / columns * taps.row_step, column = taps.column + from % columns * taps.column_step;
        const float* source = kernel.typed_data() + (row * d[1] + column) * in * d[3] + g * out;
        for (int64_t i = 0; i < group_in; ++i, to += block)
          for (int64_t o = 0; o < count; ++o)
            to[o] = transposed ? source[(first + o) * d[3] + i] : source[i * d[3] + first + o];
      }
    });
  }
  int64_t At(int64_t group, int64_t b) const { return (group * blocks + b) * rows * columns * group_in * block; }
};

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

// The pixels of the result that one convolution writes: every step-th, from an offset.
struct Grid {
  int64_t rows, columns, row_step = 1, column_step = 1, row = 0, column = 0;
};

template <int N, int kVectors, int kIn>
void Convolve(ffi::ThreadPool& pool, const Array& x, const PackedKernel& kernel, const float* bias, int64_t bias_stride,
              Result& y, int64_t groups, const Geometry& k, const Grid& grid) {
  constexpr int kRows = Rows(kVectors);
  Shape in(x.dimensions()), out(y->dimensions()), written = out;
  written.height = grid.rows, written.width = grid.columns;
  Blocks blocks(written);
  // Groups that are copied together: whole lines of the cache, in and out, and few, to find their planes there again.
  int64_t narrower = std::min(kernel.group_in, kernel.group_out), together = (kLine + narrower - 1) / narrower;
  ParallelFor(pool, blocks.count, [&](int64_t task) {
    Block b(blocks, written, task);
    int64_t rows = (b.rows - 1) * k.stride_rows + k.rows, columns = (b.columns - 1) * k.stride_columns + k.columns;
    std::vector<int64_t> shifts;
    for (int64_t r = 0; r < k.rows; ++r)
      for (int64_t c = 0; c < k.columns; ++c) shifts.push_back((r * columns + c) * kernel.group_in);
    // Where each pixel is read and written; a last, incomplete tile repeats its last pixel.
    int64_t pixels = b.rows * b.columns, plane_size = rows * columns * kernel.group_in;
    static thread_local std::vector<int64_t> reads, writes;
    reads.clear(), writes.clear();
    for (int64_t i = 0; i < (pixels + kRows - 1) / kRows * kRows; ++i) {
      int64_t r = std::min(i, pixels - 1) / b.columns, c = std::min(i, pixels - 1) % b.columns;
      reads.push_back((r * k.stride_rows * columns + c * k.stride_columns) * kernel.group_in);
      int64_t row = (b.row + r) * grid.row_step + grid.row, column = (b.column + c) * grid.column_step + grid.column;
      writes.push_back(((b.n * out.height + row) * out.width + column) * out.channels);
    }
    static thread_local std::vector<float> planes;
    planes.resize(std::min(groups, together) * plane_size);
    for (int64_t g = 0; g < groups; ++g) {
      if (g % together == 0)
        Pack(x.typed_data(), in, b.n, b.row * k.stride_rows - k.top, b.column * k.stride_columns - k.left, rows, columns,
             g * kernel.group_in, std::min(together, groups - g), kernel.group_in, kernel.group_in, planes.data());
      const float* plane = planes.data() + g % together * plane_size;
      for (int64_t o = 0; o < kernel.blocks; ++o) {
        int64_t channel = g * kernel.group_out + o * kernel.block;
        int64_t outputs = std::min(kernel.block, kernel.group_out - o * kernel.block);
        const float* add = bias ? bias + b.n * bias_stride + channel : nullptr;
        const float* weights = kernel.values.data() + kernel.At(g, o);
        for (int64_t first = 0; first < pixels; first += kRows) {
          typename Vector<N>::type sums[kRows][kVectors];
          auto run = [&](const float* from, auto at) {
#if defined(__AVX__)
            if constexpr (N == 4)
              if (kernel.group_in % 4 == 0) return NarrowTile<kIn>(from, at, shifts, kernel.group_in, weights, sums);
#endif
            ConvTile<N, kVectors, kIn>(from, at, shifts, kernel.group_in, weights, sums);
          };
          bool side_by_side = false;
          if constexpr (kIn > 0) {
            side_by_side = SideBySide<kIn>::Is(&reads[first], kRows);
            if (side_by_side) run(plane + reads[first], SideBySide<kIn>{});
          }
          if (!side_by_side) {
            std::array<int64_t, kRows> at;
            std::copy_n(&reads[first], kRows, at.begin());
            run(plane, at);
          }
          for (int64_t p = 0; p < std::min<int64_t>(kRows, pixels - first); ++p) {
            float* to = y->typed_data() + writes[first + p] + channel;
            if (outputs == N * kVectors) {
              for (int v = 0; v < kVectors; ++v)
                Store<N>(to + v * N, add ? sums[p][v] + Load<N>(add + v * N) : sums[p][v]);
            } else {
              float values[N * kVectors];
              for (int v = 0; v < kVectors; ++v) Store<N>(values + v * N, sums[p][v]);
              for (int64_t i = 0; i < outputs; ++i) to[i] = values[i] + (add ? add[i] : 0.0f);
            }
          }
        }
      }
    }
  });
}

void ConvolveAnyWidth(ffi::ThreadPool& pool, const Array& x, const Array& kernel, const Array& bias, Result& y,
                      int64_t groups, const Geometry& k, const Taps& taps, const Grid& grid, bool transposed) {
  int64_t group_out = transposed ? kernel.dimensions()[2] : kernel.dimensions()[3] / groups;
  auto run = [&](auto outputs) {
    constexpr int N = std::min(decltype(outputs)::value, kLanes), kVectors = decltype(outputs)::value / N;
    PackedKernel packed(pool, kernel, groups, N * kVectors, taps, transposed);
    auto convolve = packed.group_in == 8   ? Convolve<N, kVectors, 8>
                    : packed.group_in == 4 ? Convolve<N, kVectors, 4>
                                           : Convolve<N, kVectors, 0>;
    int64_t bias_stride = bias.dimensions()[0] == 1 ? 0 : bias.dimensions()[1];
    convolve(pool, x, packed, bias.element_count() ? bias.typed_data() : nullptr, bias_stride, y, groups, k, grid);
  };
  if (group_out <= 4) run(Constant<4>{});
  else if (group_out <= 8) run(Constant<8>{});
  else if (group_out <= 16) run(Constant<16>{});
  else run(Constant<kWide>{});
}

// y = convolution of x + bias; bias is [batch or 1, out channels], or [batch, 0] for none.
ffi::Error GroupedConv(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Result y, int64_t groups,
                       int64_t stride_rows, int64_t stride_columns, int64_t top, int64_t left) {
  auto d = kernel.dimensions();
  if (!IsConvolution(x.dimensions(), d, y->dimensions(), groups) || !IsBias(bias.dimensions(), y->dimensions()))
    return DoNotFit();
  if (y->element_count() == 0) return ffi::Error::Success();
  Shape out(y->dimensions());
  ConvolveAnyWidth(pool, x, kernel, bias, y, groups, {d[0], d[1], stride_rows, stride_columns, top, left},
                   {d[0], d[1], 0, 0, 1, 1}, {out.height, out.width}, false);
  return ffi::Error::Success();
}

// One axis of the transposed convolution: result pixels offset + stride * j see the gradient through every stride-th tap,
// first, first + stride, ..., `count` of them, with `before` zeros in front of the gradient.
struct Phase {
  int64_t first, count, before, pixels;
  Phase(int64_t offset, int64_t kernel, int64_t stride, int64_t pad, int64_t size)
      : first((offset + pad) % stride), count(first < kernel ? (kernel - first - 1) / stride + 1 : 0),
        before(count - 1 - (offset + pad - first) / stride), pixels(offset < size ? (size - offset - 1) / stride + 1 : 0) {}
};

// The transposed convolution, which is the gradient with respect to x: result pixels of the same phase with respect to the
// strides see the same taps, so it is one ordinary convolution for each phase, without the zeros of a dilated gradient.
ffi::Error GroupedConvTransposed(ffi::ThreadPool pool, Array gradient, Array kernel, Array bias, Result dx,
                                 int64_t groups, int64_t stride_rows, int64_t stride_columns, int64_t top,
                                 int64_t left) {
  auto d = kernel.dimensions();
  if (!IsConvolution(dx->dimensions(), d, gradient.dimensions(), groups) ||
      !IsBias(bias.dimensions(), dx->dimensions()))
    return DoNotFit();
  if (dx->element_count() == 0) return ffi::Error::Success();
  Shape out(dx->dimensions());
  for (int64_t r = 0; r < stride_rows; ++r)
    for (int64_t c = 0; c < stride_columns; ++c) {
      Phase down(r, d[0], stride_rows, top, out.height), across(c, d[1], stride_columns, left, out.width);
      if (down.pixels == 0 || across.pixels == 0) continue;
      ConvolveAnyWidth(pool, gradient, kernel, bias, dx, groups, {down.count, across.count, 1, 1, down.before, across.before},
                       {down.count, across.count, down.first, across.first, stride_rows, stride_columns},
                       {down.pixels, across.pixels, stride_rows, stride_columns, r, c}, true);
    }
  return ffi::Error::Success();
}

// A plane of one block: where it starts, how far it is to the next picture, row and pixel, and its channels.
struct Plane {
  const float* start;
  int64_t picture, row, step, width;
};

// Calls body(first x, first gradient) for every line of pixels of a block.
template <typename Body>
inline __attribute__((always_inline)) void ForLines(const Plane& x, int64_t i, const Plane& gradient, int64_t o,
                                                    const Block& b, const Body& body) {
  for (int64_t picture = 0; picture < b.pictures; ++picture)
    for (int64_t row = 0; row < b.rows; ++row)
      body(x.start + picture * x.picture + row * x.row + i,
           gradient.start + picture * gradient.picture + row * gradient.row + o);
}

// sums[t][i][o] += x[pixel + t, i] * gradient[pixel, o] over the pixels of a block, for kTaps neighbouring taps of a row of
// the kernel and kInputs x (N * kVectors) channels. A tap's x lies tap_step floats further, its sums taps floats.
template <int N, int kVectors, int kInputs, int kTaps = 1>
void GradientTile(const Plane& x, int64_t i, const Plane& gradient, int64_t o, const Block& b, float* sums,
                  int64_t stride, int64_t tap_step = 0, int64_t taps = 0) {
  typename Vector<N>::type total[kTaps][kInputs][kVectors];
  for (int t = 0; t < kTaps; ++t)
    for (int k = 0; k < kInputs; ++k)
      for (int v = 0; v < kVectors; ++v) total[t][k][v] = Load<N>(sums + t * taps + k * stride + v * N);
  ForLines(x, i, gradient, o, b, [&](const float* from, const float* g) {
    for (int64_t column = 0; column < b.columns; ++column, from += x.step, g += gradient.step) {
      typename Vector<N>::type w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = Load<N>(g + v * N);
#pragma GCC unroll 8
      for (int t = 0; t < kTaps; ++t)
#pragma GCC unroll 8
        for (int k = 0; k < kInputs; ++k)
          for (int v = 0; v < kVectors; ++v) total[t][k][v] += from[t * tap_step + k] * w[v];
    }
  });
  for (int t = 0; t < kTaps; ++t)
    for (int k = 0; k < kInputs; ++k)
      for (int v = 0; v < kVectors; ++v) Store<N>(sums + t * taps + k * stride + v * N, total[t][k][v]);
}

// N * kVectors outputs against all inputs of the plane.
template <int N, int kVectors>
void GradientInputs(const Plane& x, const Plane& gradient, int64_t o, const Block& b, float* sums, int64_t stride) {
  constexpr int kInputs = Inputs(kVectors);
  int64_t i = 0;
  for (; i + kInputs <= x.width; i += kInputs)
    GradientTile<N, kVectors, kInputs>(x, i, gradient, o, b, sums + i * stride, stride);
  for (; i + 4 <= x.width; i += 4) GradientTile<N, kVectors, 4>(x, i, gradient, o, b, sums + i * stride, stride);
  for (; i + 2 <= x.width; i += 2) GradientTile<N, kVectors, 2>(x, i, gradient, o, b, sums + i * stride, stride);
  for (; i < x.width; ++i) GradientTile<N, kVectors, 1>(x, i, gradient, o, b, sums + i * stride, stride);
}

// One plane of inputs against one plane of outputs under one tap.
void GradientPlanes(const Plane& x, const Plane& gradient, const Block& b, float* sums, int64_t stride) {
  if (gradient.width < 8) {  // few outputs: the vectors lie along the inputs, which are padded to eights
    constexpr int N = std::min(8, kLanes);
    for (int64_t i = 0; i < x.width; i += 8) {
      float tile[8 * 8] = {};
      GradientInputs<N, 8 / N>(gradient, x, i, b, tile, 8);
      for (int64_t o = 0; o < gradient.width; ++o)
        for (int64_t k = 0; k < std::min<int64_t>(8, x.width - i); ++k) sums[(i + k) * stride + o] += tile[o * 8 + k];
    }
    return;
  }
  int64_t o = 0;
  auto sweep = [&](auto outputs) {
    constexpr int N = std::min(decltype(outputs)::value, kLanes), kVectors = decltype(outputs)::value / N;
    for (; o + N * kVectors <= gradient.width; o += N * kVectors)
      GradientInputs<N, kVectors>(x, gradient, o, b, sums + o, stride);
  };
  sweep(Constant<kWide>{});
  sweep(Constant<16>{});
  sweep(Constant<8>{});
  sweep(Constant<4>{});
  sweep(Constant<1>{});
}

// The same with the vectors along eight inputs, for four outputs and three taps.
void TurnedTile(const Plane& x, int64_t i, const Plane& gradient, const Block& b, float* sums, int64_t stride,
                int64_t tap_step, int64_t taps) {
  Vector<8>::type total[3][4] = {};
  ForLines(x, i, gradient, 0, b, [&](const float* from, const float* g) {
    for (int64_t column = 0; column < b.columns; ++column, from += x.step, g += gradient.step) {
      Vector<8>::type inputs[3];
      for (int t = 0; t < 3; ++t) inputs[t] = Load<8>(from + t * tap_step);
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k)
        for (int t = 0; t < 3; ++t) total[t][k] += inputs[t] * g[k];
    }
  });
  int64_t inputs = std::min<int64_t>(8, x.width - i);
  for (int t = 0; t < 3; ++t)
#pragma GCC unroll 8
    for (int lane = 0; lane < 8; ++lane) {
      if (lane == inputs) break;
      float* to = sums + t * taps + (i + lane) * stride;
      Vector<4>::type outputs{total[t][0][lane], total[t][1][lane], total[t][2][lane], total[t][3][lane]};
      Store<4>(to, Load<4>(to) + outputs);
    }
}

// One plane of outputs against one plane of inputs under three taps, or three planes under one: their x lies `step` floats
// further, their sums `taps` floats. With AVX, the sums of one tap are few and wait for each other; the twelve of three do
// not, and fill the registers.
void GradientOfThree(const Plane& x, const Plane& gradient, const Block& b, float* sums, int64_t stride, int64_t step,
                     int64_t taps) {
  if (kLanes == 8 && gradient.width % 16 == 0 && x.width % 2 == 0) {
    for (int64_t o = 0; o < gradient.width; o += 16)
      for (int64_t i = 0; i < x.width; i += 2)
        GradientTile<8, 2, 2, 3>(x, i, gradient, o, b, sums + i * stride + o, stride, step, taps);
  } else if (kLanes == 8 && gradient.width == 4) {  // the inputs are padded to eights
    for (int64_t i = 0; i < x.width; i += 8) TurnedTile(x, i, gradient, b, sums, stride, step, taps);
  } else {
    Plane one = x;
    for (int t = 0; t < 3; ++t, one.start += step) GradientPlanes(one, gradient, b, sums + t * taps, stride);
  }
}

// The gradient with respect to the kernel. A task sums some of the channels over some of the blocks; the parts are added
// in their order at the end, so the result does not depend on the number of threads.
ffi::Error GroupedConvGradKernel(ffi::ThreadPool pool, Array x, Array gradient, Result dk, int64_t groups,
                                 int64_t stride_rows, int64_t stride_columns, int64_t top, int64_t left) {
  auto d = dk->dimensions();
  if (!IsConvolution(x.dimensions(), d, gradient.dimensions(), groups)) return DoNotFit();
  if (x.element_count() == 0 || gradient.element_count() == 0) {
    std::fill_n(dk->typed_data(), dk->element_count(), 0.0f);
    return ffi::Error::Success();
  }
  Shape in(x.dimensions()), out(gradient.dimensions());
  Geometry k{d[0], d[1], stride_rows, stride_columns, top, left};
  int64_t group_in = d[2], group_out = d[3] / groups, size = dk->element_count();
  // Planes of x: parts of a group where it is wide. A task takes whole groups, or some channels of one: the more, the fewer
  // taps there are, because every task copies all gradients of its groups.
  int64_t x_width = group_in % 8 ? group_in : 8, planes_of_group = group_in / x_width;
  int64_t x_padded = (x_width + 7) / 8 * 8;
  int64_t g_width = group_out % 32 ? group_out : 32, parts_of_group = group_out / g_width;
  int64_t task_channels = k.rows * k.columns < 4 ? 128 : 32;
  int64_t task_planes = std::max<int64_t>(1, task_channels / x_width), planes = groups * planes_of_group;
  if (planes_of_group > 1 && planes_of_group % task_planes) task_planes = 1;
  if (planes_of_group == 1) task_planes = std::min(task_planes, groups);
  Blocks blocks(out);
  // Small pictures: several make a block, or loading and storing the sums would take longer than adding to them. Then the
  // channels are enough for the tasks.
  int64_t together = blocks.down * blocks.across > 1 ? 1 : std::max<int64_t>(1, kBlockPixels / (out.height * out.width));
  if (together > 1 && planes_of_group > 1) task_planes = 1;
  int64_t channel_tasks = (planes + task_planes - 1) / task_planes;
  int64_t parts = std::clamp<int64_t>(kLeastTasks / channel_tasks, 1, std::max<int64_t>(1, blocks.count));
  std::vector<float> partial((parts - 1) * size, 0.0f);
  std::fill_n(dk->typed_data(), size, 0.0f);

  ParallelFor(pool, parts * channel_tasks, [&](int64_t task) {
    int64_t part = task / channel_tasks, plane = task % channel_tasks * task_planes;
    int64_t count = std::min(task_planes, planes - plane);
    int64_t first_group = plane / planes_of_group, last_group = (plane + count - 1) / planes_of_group;
    int64_t g_planes = (last_group - first_group + 1) * parts_of_group;
    float* sums = part ? partial.data() + (part - 1) * size : dk->typed_data();
    static thread_local std::vector<float> xs, gs;
    int64_t last = blocks.count * (part + 1) / parts;
    for (int64_t i = blocks.count * part / parts; i < last; i += together) {
      Block b(blocks, out, i);
      b.pictures = std::min(together, last - i);
      int64_t rows = (b.rows - 1) * k.stride_rows + k.rows, columns = (b.columns - 1) * k.stride_columns + k.columns;
      int64_t x_picture = count * rows * columns * x_padded, g_picture = g_planes * b.rows * b.columns * g_width;
      xs.resize(b.pictures * x_picture), gs.resize(b.pictures * g_picture);
      for (int64_t n = 0; n < b.pictures; ++n) {
        Pack(x.typed_data(), in, b.n + n, b.row * k.stride_rows - k.top, b.column * k.stride_columns - k.left, rows,
             columns, plane * x_width, count, x_width, x_padded, xs.data() + n * x_picture);
        Pack(gradient.typed_data(), out, b.n + n, b.row, b.column, b.rows, b.columns, first_group * group_out, g_planes,
             g_width, g_width, gs.data() + n * g_picture);
      }
      int64_t taps = k.rows * k.columns, x_plane = rows * columns * x_padded;
      for (int64_t p = 0, done; p < count; p += done) {
        int64_t g = (plane + p) / planes_of_group, first_in = (plane + p) % planes_of_group * x_width;
        done = taps == 1 && p + 3 <= count && first_in + 3 * x_width <= group_in ? 3 : 1;
        for (int64_t o = 0; o < parts_of_group; ++o) {
          const float* of_outputs = gs.data() + ((g - first_group) * parts_of_group + o) * b.rows * b.columns * g_width;
          Plane of_gradient{of_outputs, g_picture, b.columns * g_width, g_width, g_width};
          for (int64_t tap = 0; tap < taps; ++tap) {
            Plane of_tap{xs.data() + p * x_plane + (tap / k.columns * columns + tap % k.columns) * x_padded, x_picture,
                         k.stride_rows * columns * x_padded, k.stride_columns * x_padded, x_width};
            float* to = sums + (tap * group_in + first_in) * d[3] + g * group_out + o * g_width;
            if (done == 3) {
              GradientOfThree(of_tap, of_gradient, b, to, d[3], x_plane, x_width * d[3]);
            } else if (k.columns == 3) {
              GradientOfThree(of_tap, of_gradient, b, to, d[3], x_padded, group_in * d[3]);
              tap += 2;
            } else {
              GradientPlanes(of_tap, of_gradient, b, to, d[3]);
            }
          }
        }
      }
    }
  });
  for (int64_t part = 1; part < parts; ++part)
    for (int64_t i = 0; i < size; ++i) dk->typed_data()[i] += partial[(part - 1) * size + i];
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_grouped_conv, Guarded<GroupedConv>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Attr<int64_t>("groups").Attr<int64_t>("stride_rows")
                                  .Attr<int64_t>("stride_columns").Attr<int64_t>("top").Attr<int64_t>("left"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_grouped_conv_transposed, Guarded<GroupedConvTransposed>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Attr<int64_t>("groups").Attr<int64_t>("stride_rows")
                                  .Attr<int64_t>("stride_columns").Attr<int64_t>("top").Attr<int64_t>("left"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_grouped_conv_grad_kernel, Guarded<GroupedConvGradKernel>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Ret<Array>()
                                  .Attr<int64_t>("groups").Attr<int64_t>("stride_rows")
                                  .Attr<int64_t>("stride_columns").Attr<int64_t>("top").Attr<int64_t>("left"));

}  // namespace ddim_jax
