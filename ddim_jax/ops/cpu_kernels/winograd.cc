// Convolution with 3 x 3 kernels and stride 1 by minimal filtering (winograd_transforms.h): its value and the
// gradients of both operands, of float32 images in NHWC.
//
// For a tile of 2 x 2 outputs, inputs and kernel are transformed, each to 4 x 4 points, and multiplied point by point:
// 16 multiplications instead of 36. Over all channels, each of the 16 points is a matrix product, [tiles, inputs]
// times [inputs, outputs]. The transforms add, subtract and halve, so the error is about that of the direct sum. But
// inputs are added before they are multiplied: they overflow at a quarter of what float32 can hold, and one that is
// not finite spreads over its tile.
//
// The gradient of the kernel is the transpose of the same: the sum over the tiles of the products of transformed
// inputs and transformed gradients, [inputs, tiles] times [tiles, outputs], transformed back.

#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "common.h"
#include "winograd_transforms.h"

namespace ddim_jax {
namespace {

constexpr int kPoints = 16;
// A tile of a matrix product: kRows rows times two vectors, or twice the rows times one, so that its sums fit into the
// registers (16 with AVX, 32 with AVX-512) beside the operands, and none waits for the one before.
constexpr int kRows = kLanes == 16 ? 12 : 6;
constexpr int64_t kBlock = 2 * kLanes;  // outputs of one tile of a product
constexpr int64_t kLeastTasks = 16;
constexpr int64_t kInputBytes = 256 << 10;    // of the transformed inputs of a task, for the second-level cache
constexpr int64_t kGradientChannels = 64;     // of inputs and of outputs of a task of the kernel's gradient
constexpr int64_t kGradientTiles = 4 * kRows; // whose products are summed before the sums are stored

template <int N>
using Floats = typename Vector<N>::type;

int64_t Ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }
// The distance of two points, not a power of two: they are to lie in different sets of the first-level cache.
int64_t Plane(int64_t size) { return size + 16; }

// Nearest upsampling before the convolution: images are read as if every pixel were there twice in both directions,
// with one line of zeros around. A tile then sees lines a, b, b, c, of which B makes a - b, 2 b, 0 and b - c: of the 16
// points, 9 are left. On the way back the gradients of its 2 x 2 pixels are added, and the same points cancel.
bool IsZero(int64_t point, bool doubled) { return doubled && (point / 4 == 2 || point % 4 == 2); }

// A convolution with a kernel of 3 x 3 and, after upsampling, one line of zeros before the image?
bool IsThreeByThree(Sizes x, Sizes kernel, Sizes y, int64_t groups, const Window& window, bool doubled) {
  return IsConvolution(x, kernel, y, groups, window, doubled) && kernel[0] == 3 && kernel[1] == 3 &&
         (!doubled || (window.top == 1 && window.left == 1));
}

// sums[r][v] (+)= sum over k < count of a[r * row + k * step] * b[k * kBlock + v], for `rows` x kVectors vectors.
template <int kVectors, bool kAdd>
inline void Product(const float* a, int64_t row, int64_t step, const float* b, int64_t count, float* sums) {
  constexpr int rows = kRows * 2 / kVectors;
  Floats<kLanes> total[rows][kVectors];
#pragma GCC unroll 32
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v)
      total[r][v] = kAdd ? Load<kLanes>(sums + r * kBlock + v * kLanes) : Floats<kLanes>{};
  for (int64_t k = 0; k < count; ++k, a += step, b += kBlock) {
    Floats<kLanes> w[kVectors];
    for (int v = 0; v < kVectors; ++v) w[v] = Load<kLanes>(b + v * kLanes);
#pragma GCC unroll 32
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < kVectors; ++v) total[r][v] += a[r * row] * w[v];
  }
#pragma GCC unroll 32
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v) Store<kLanes>(sums + r * kBlock + v * kLanes, total[r][v]);
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

// The tiles of a batch of images, one after the other, and the pixels that they see.
struct Tiles {
  int64_t down, across, count;
  explicit Tiles(const Shape& out)
      : down(Ceil(out.height, 2)), across(Ceil(out.width, 2)), count(out.batch * down * across) {}
};

struct Tile {
  int64_t n, row, column;
  Tile(const Tiles& tiles, int64_t index)
      : n(index / (tiles.down * tiles.across)), row(index / tiles.across % tiles.down * 2),
        column(index % tiles.across * 2) {}
};

// `count` channels of the side x side pixels from (row, column) of image n, zeros outside of it, transformed:
// channel c of point p goes to to[p * plane + c / width * block + c % width].
template <typename By>
void TransformPixels(const float* x, const Shape& shape, int64_t n, int64_t row, int64_t column, bool doubled,
                     int64_t first, int64_t count, float* to, int64_t plane, int64_t width, int64_t block) {
  constexpr int side = By::from;
  static thread_local std::vector<float> zeros;
  if (int64_t(zeros.size()) < count) zeros.resize(count);
  const float* pixels[side * side];
  for (int i = 0; i < side * side; ++i) {
    int64_t r = (row + i / side) >> doubled, c = (column + i % side) >> doubled;  // -1 stays -1
    bool inside = r >= 0 && r < shape.height && c >= 0 && c < shape.width;
    pixels[i] = inside ? x + ((n * shape.height + r) * shape.width + c) * shape.channels + first : zeros.data();
  }
  int64_t channel = 0;
  auto sweep = [&](auto lanes) {
    constexpr int N = decltype(lanes)::value;
    for (; channel + N <= count; channel += N) {
      Floats<N> values[side * side], transformed[kPoints];
#pragma GCC unroll 16
      for (int i = 0; i < side * side; ++i) values[i] = Load<N>(pixels[i] + channel);
      Transform<By>(values, transformed);
      float* target = to + channel / width * block + channel % width;
#pragma GCC unroll 16
      for (int p = 0; p < kPoints; ++p) Store<N>(target + p * plane, transformed[p]);
    }
  };
  sweep(Constant<kLanes>{});
  sweep(Constant<4>{});
  sweep(Constant<1>{});
}

// A kernel, transformed: [group][block of outputs][point][input][output of the block], zeros beyond the last output.
struct TransformedKernel {
  int64_t group_in, group_out, blocks, plane;
  Buffer buffer;
  float* values;

  // `transposed` gives the kernel of the gradient with respect to x: taps reversed, inputs and outputs exchanged.
  TransformedKernel(ffi::ThreadPool& pool, const Array& kernel, int64_t groups, bool transposed) {
    auto d = kernel.dimensions();
    int64_t in = d[2], out = d[3] / groups;
    group_in = transposed ? out : in, group_out = transposed ? in : out, blocks = Ceil(group_out, kBlock);
    plane = Plane(group_in * kBlock);
    values = buffer.Get(groups * blocks * kPoints * plane);
    ParallelFor(pool, groups * blocks, [&](int64_t task) {
      int64_t g = task / blocks, first = task % blocks * kBlock, count = std::min(kBlock, group_out - first);
      for (int64_t i = 0; i < group_in; ++i) {
        float taps[9][kBlock] = {};
        for (int tap = 0; tap < 9; ++tap) {
          const float* from = kernel.typed_data() + (transposed ? 8 - tap : tap) * in * d[3] + g * out;
          // The next lines lie too far from each other for the processor to guess.
          if (!transposed && i + 8 < group_in) __builtin_prefetch(from + (i + 8) * d[3] + first);
          if (!transposed) std::memcpy(taps[tap], from + i * d[3] + first, count * sizeof(float));
          else for (int64_t o = 0; o < count; ++o) taps[tap][o] = from[(first + o) * d[3] + i];
        }
        for (int v = 0; v < 2; ++v) {
          Floats<kLanes> of_taps[9], transformed[kPoints];
          for (int tap = 0; tap < 9; ++tap) of_taps[tap] = Load<kLanes>(taps[tap] + v * kLanes);
          Transform<ByG>(of_taps, transformed);
          for (int p = 0; p < kPoints; ++p)
            Store<kLanes>(values + (task * kPoints + p) * plane + i * kBlock + v * kLanes, transformed[p]);
        }
      }
    });
  }
};

// The outputs of one tile, from [point][rows of a plane][output of the block]; `halved` adds its 2 x 2 pixels to one.
void StoreTile(const float* products, int64_t plane, const Tile& tile, const Shape& out, int64_t channel,
               int64_t outputs, const float* bias, bool halved, float* y) {
  alignas(64) float values[4][kBlock];
  for (int v = 0; v < 2; ++v) {
    Floats<kLanes> points[kPoints], pixels[4];
#pragma GCC unroll 16
    for (int p = 0; p < kPoints; ++p) points[p] = Load<kLanes>(products + p * plane + v * kLanes);
    Transform<ByTransposedA>(points, pixels);
    if (halved) pixels[0] = (pixels[0] + pixels[1]) + (pixels[2] + pixels[3]);
    for (int i = 0; i < 4; ++i) Store<kLanes>(values[i] + v * kLanes, pixels[i]);
  }
  for (int i = 0; i < (halved ? 1 : 4); ++i) {
    int64_t row = halved ? tile.row / 2 : tile.row + i / 2, column = halved ? tile.column / 2 : tile.column + i % 2;
    if (row >= out.height || column >= out.width) continue;
    float* to = y + ((tile.n * out.height + row) * out.width + column) * out.channels + channel;
    if (outputs == kBlock)
      for (int v = 0; v < 2; ++v) {
        auto sum = Load<kLanes>(values[i] + v * kLanes);
        Store<kLanes>(to + v * kLanes, bias ? sum + Load<kLanes>(bias + v * kLanes) : sum);
      }
    else
      for (int64_t o = 0; o < outputs; ++o) to[o] = values[i][o] + (bias ? bias[o] : 0.0f);
  }
}

}  // namespace

// y = convolution of x + bias; bias is [batch or 1, out channels], or [batch, 0] for none. A task takes some tiles and
// some blocks of outputs of one group.
ffi::Error WinogradConv(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Result y, int64_t groups, int64_t top,
                        int64_t bottom, int64_t left, int64_t right, bool transposed, bool doubled) {
  auto of_x = x.dimensions(), of_y = y->dimensions(), d = kernel.dimensions();
  if (transposed) std::swap(of_x, of_y);
  if (!IsThreeByThree(of_x, d, of_y, groups, {1, 1, top, bottom, left, right}, doubled) ||
      !IsBias(bias.dimensions(), y->dimensions()))
    return DoNotFit();
  if (y->element_count() == 0) return ffi::Error::Success();
  Shape in(x.dimensions()), out(y->dimensions());
  TransformedKernel weights(pool, kernel, groups, transposed);
  if (transposed) top = 2 - top, left = 2 - left;
  bool halved = doubled && transposed;
  Shape tiled = out;
  if (halved) tiled.height *= 2, tiled.width *= 2;
  Tiles tiles(tiled);
  int64_t step = Ceil(weights.group_in, kLanes) * kLanes;
  int64_t most = kInputBytes / (int64_t(sizeof(float)) * kPoints * step * 2 * kRows);
  int64_t enough = std::min<int64_t>({most, 4, Ceil(tiles.count, kLeastTasks * 2 * kRows)});
  int64_t together = std::max<int64_t>(1, enough) * 2 * kRows;
  int64_t blocks = Ceil(tiles.count, together);
  int64_t parts = std::min(weights.blocks, Ceil(kLeastTasks, blocks * groups));
  const float* add = bias.element_count() ? bias.typed_data() : nullptr;
  int64_t bias_stride = bias.dimensions()[0] == 1 ? 0 : bias.dimensions()[1];

  ParallelFor(pool, blocks * groups * parts, [&](int64_t task) {
    int64_t part = task % parts, g = task / parts % groups, first = task / parts / groups * together;
    int64_t count = std::min(together, tiles.count - first);
    int64_t plane = Plane(together * step);
    static thread_local Buffer of_inputs, of_products;
    float *inputs = of_inputs.Get(kPoints * plane), *products = of_products.Get(kPoints * together * kBlock);
    for (int64_t t = 0; t < count; ++t) {
      Tile tile(tiles, first + t);
      TransformPixels<ByB>(x.typed_data(), in, tile.n, tile.row - top, tile.column - left, doubled && !halved,
                           g * weights.group_in, weights.group_in, inputs + t * step, plane, step, 0);
    }
    for (int p = 0; p < kPoints; ++p)
      if (IsZero(p, doubled)) std::fill_n(products + p * together * kBlock, together * kBlock, 0.0f);
    for (int64_t b = weights.blocks * part / parts; b < weights.blocks * (part + 1) / parts; ++b) {
      int64_t outputs = std::min(kBlock, weights.group_out - b * kBlock), channel = g * weights.group_out + b * kBlock;
      for (int64_t p = 0; p < kPoints; ++p) {
        if (IsZero(p, doubled)) continue;
        const float* w = weights.values + ((g * weights.blocks + b) * kPoints + p) * weights.plane;
        auto multiply = [&](auto vectors) {
          constexpr int kVectors = decltype(vectors)::value;
          for (int64_t t = 0; t < count; t += kRows * 2 / kVectors)
            Product<kVectors, false>(inputs + p * plane + t * step, step, 1, w, weights.group_in,
                                     products + (p * together + t) * kBlock);
        };
        if (outputs > kLanes) multiply(Constant<2>{});
        else multiply(Constant<1>{});
      }
      for (int64_t t = 0; t < count; ++t) {
        Tile tile(tiles, first + t);
        StoreTile(products + t * kBlock, together * kBlock, tile, out, channel, outputs,
                  add ? add + tile.n * bias_stride + channel : nullptr, halved, y->typed_data());
      }
    }
  });
  return ffi::Error::Success();
}

// The gradient with respect to the kernel. A task sums some inputs times some outputs of one group over some of the
// tiles; the parts are added in their order at the end, so the result does not depend on the number of threads.
ffi::Error WinogradConvGradKernel(ffi::ThreadPool pool, Array x, Array gradient, Result dk, int64_t groups, int64_t top,
                                  int64_t bottom, int64_t left, int64_t right, bool doubled) {
  auto d = dk->dimensions();
  Window window{1, 1, top, bottom, left, right};
  if (!IsThreeByThree(x.dimensions(), d, gradient.dimensions(), groups, window, doubled)) return DoNotFit();
  Shape in(x.dimensions()), out(gradient.dimensions());
  Tiles tiles(out);
  int64_t group_in = d[2], group_out = d[3] / groups;
  // Ranges of channels as equal as can be, in whole tiles of a product.
  int64_t in_parts = Ceil(group_in, kGradientChannels), out_parts = Ceil(group_out, kGradientChannels);
  int64_t in_width = Ceil(Ceil(group_in, in_parts), 2 * kRows) * 2 * kRows;
  int64_t out_blocks = Ceil(Ceil(group_out, out_parts), kBlock), out_width = out_blocks * kBlock;
  in_parts = Ceil(group_in, in_width), out_parts = Ceil(group_out, out_width);
  int64_t channel_tasks = groups * in_parts * out_parts;
  int64_t parts = std::max<int64_t>(1, std::min(Ceil(kLeastTasks, channel_tasks), Ceil(tiles.count, kGradientTiles)));
  int64_t size = kPoints * out_width * in_width;  // of a task's sums: [point][block of outputs][input][output]
  Buffer of_sums;
  float* sums = of_sums.Get(parts * channel_tasks * size);

  ParallelFor(pool, parts * channel_tasks, [&](int64_t task) {
    int64_t o = task % out_parts * out_width, i = task / out_parts % in_parts * in_width;
    int64_t g = task / out_parts / in_parts % groups, part = task / channel_tasks;
    int64_t inputs = std::min(in_width, group_in - i), outputs = std::min(out_width, group_out - o);
    float* to = sums + task * size;
    std::fill_n(to, size, 0.0f);
    int64_t block = kGradientTiles * kBlock;
    int64_t x_plane = Plane(kGradientTiles * in_width), g_plane = Plane(out_blocks * block);
    static thread_local Buffer of_x, of_gradient;
    float *xs = of_x.Get(kPoints * x_plane), *gs = of_gradient.Get(kPoints * g_plane);
    int64_t last = tiles.count * (part + 1) / parts;
    for (int64_t first = tiles.count * part / parts; first < last; first += kGradientTiles) {
      int64_t count = std::min(kGradientTiles, last - first);
      for (int64_t t = 0; t < count; ++t) {
        Tile tile(tiles, first + t);
        TransformPixels<ByB>(x.typed_data(), in, tile.n, tile.row - top, tile.column - left, doubled, g * group_in + i,
                             inputs, xs + t * in_width, x_plane, in_width, 0);
        TransformPixels<ByA>(gradient.typed_data(), out, tile.n, tile.row, tile.column, false, g * group_out + o,
                             outputs, gs + t * kBlock, g_plane, kBlock, block);
      }
      for (int64_t p = 0; p < kPoints; ++p)
        for (int64_t b = 0; b * kBlock < outputs && !IsZero(p, doubled); ++b) {
          auto multiply = [&](auto vectors) {
            constexpr int kVectors = decltype(vectors)::value;
            for (int64_t k = 0; k < inputs; k += kRows * 2 / kVectors)
              Product<kVectors, true>(xs + p * x_plane + k, 1, in_width, gs + p * g_plane + b * block, count,
                                      to + ((p * out_blocks + b) * in_width + k) * kBlock);
          };
          if (outputs - b * kBlock > kLanes) multiply(Constant<2>{});
          else multiply(Constant<1>{});
        }
    }
  });
  ParallelFor(pool, channel_tasks, [&](int64_t task) {
    int64_t o = task % out_parts * out_width, i = task / out_parts % in_parts * in_width;
    int64_t g = task / out_parts / in_parts;
    int64_t inputs = std::min(in_width, group_in - i), outputs = std::min(out_width, group_out - o);
    for (int64_t k = 0; k < inputs; ++k)
      for (int64_t c = 0; c < outputs; c += kLanes) {
        Floats<kLanes> points[kPoints], taps[9];
        for (int p = 0; p < kPoints; ++p) {
          const float* from = sums + task * size + ((p * out_blocks + c / kBlock) * in_width + k) * kBlock + c % kBlock;
          points[p] = Load<kLanes>(from);
          for (int64_t part = 1; part < parts; ++part) points[p] += Load<kLanes>(from + part * channel_tasks * size);
        }
        Transform<ByTransposedG>(points, taps);
        for (int tap = 0; tap < 9; ++tap) {
          float* to = dk->typed_data() + (tap * group_in + i + k) * d[3] + g * group_out + o + c;
          std::memcpy(to, &taps[tap], std::min<int64_t>(kLanes, outputs - c) * sizeof(float));
        }
      }
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_winograd_conv, Guarded<WinogradConv>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Attr<int64_t>("groups").Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right").Attr<bool>("transposed").Attr<bool>("doubled"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_winograd_conv_grad_kernel, Guarded<WinogradConvGradKernel>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Ret<Array>()
                                  .Attr<int64_t>("groups").Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right").Attr<bool>("doubled"));

}  // namespace ddim_jax
