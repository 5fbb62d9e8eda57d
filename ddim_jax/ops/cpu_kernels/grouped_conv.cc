// Grouped convolution of float32 images in NHWC, from planes (planes.h): its value and the gradient with respect to x.

#include <array>
#include <vector>

#include "conv_tiles.h"
#include "planes.h"

namespace ddim_jax {
namespace {

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
            if constexpr (N == 1) return SingleTile(from, at, shifts, kernel.group_in, weights, sums);
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
  int64_t group_in = kernel.dimensions()[2], group_out = kernel.dimensions()[3] / groups;
  if (transposed) std::swap(group_in, group_out);
  auto run = [&](auto outputs) {
    constexpr int N = std::min(decltype(outputs)::value, kLanes), kVectors = decltype(outputs)::value / N;
    PackedKernel packed(pool, kernel, groups, N * kVectors, taps, transposed);
    auto convolve = packed.group_in == 8   ? Convolve<N, kVectors, 8>
                    : packed.group_in == 4 ? Convolve<N, kVectors, 4>
                                           : Convolve<N, kVectors, 0>;
    int64_t bias_stride = bias.dimensions()[0] == 1 ? 0 : bias.dimensions()[1];
    convolve(pool, x, packed, bias.element_count() ? bias.typed_data() : nullptr, bias_stride, y, groups, k, grid);
  };
  if (group_out == 1 && group_in % kLanes == 0) run(Constant<1>{});
  else if (group_out <= 4) run(Constant<4>{});
  else if (group_out <= 8) run(Constant<8>{});
  else if (group_out <= 16) run(Constant<16>{});
  else run(Constant<kWide>{});
}

}  // namespace

// y = convolution of x + bias; bias is [batch or 1, out channels], or [batch, 0] for none.
ffi::Error GroupedConv(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Result y, int64_t groups,
                       int64_t stride_rows, int64_t stride_columns, int64_t top, int64_t bottom, int64_t left,
                       int64_t right) {
  auto d = kernel.dimensions();
  Window window{stride_rows, stride_columns, top, bottom, left, right};
  if (!IsConvolution(x.dimensions(), d, y->dimensions(), groups, window) ||
      !IsBias(bias.dimensions(), y->dimensions()))
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
                                 int64_t bottom, int64_t left, int64_t right) {
  auto d = kernel.dimensions();
  Window window{stride_rows, stride_columns, top, bottom, left, right};
  if (!IsConvolution(dx->dimensions(), d, gradient.dimensions(), groups, window) ||
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_grouped_conv, Guarded<GroupedConv>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Attr<int64_t>("groups").Attr<int64_t>("stride_rows")
                                  .Attr<int64_t>("stride_columns").Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_grouped_conv_transposed, Guarded<GroupedConvTransposed>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Attr<int64_t>("groups").Attr<int64_t>("stride_rows")
                                  .Attr<int64_t>("stride_columns").Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right"));

}  // namespace ddim_jax
