// Convolution with 3 x 3 kernels and stride 1 by minimal filtering (winograd_transforms.h), and its gradient with respect
// to the input, of float32 images in NHWC. The gradient of the kernel is in winograd_grad.cc.
//
// For a tile of outputs, inputs and kernel are transformed and multiplied point by point: for 2 x 2 outputs 16
// multiplications instead of 36, for 4 x 4 36 instead of 144. Over all channels, each point is a matrix product,
// [tiles, inputs] times [inputs, outputs]. The transforms add, subtract and multiply by small numbers. Inputs are added
// before they are multiplied: those beyond a hundredth of what float32 can hold may overflow, and one that is not finite
// spreads over the tiles that see it.
//
// Groups of a few channels are transformed together, so that their channels fill the vectors; the products are of one
// group each.

#include <utility>

#include "winograd.h"

namespace ddim_jax {
namespace {

constexpr int64_t kTileBytes = 56 << 10;  // of the transformed inputs of a task: half of what was fast before products
                                         // lay in their place; 12 tiles of 4 x 4 with 32 channels
constexpr int64_t kTogether = 32;  // channels of groups that are transformed together, on their wider side, at least a
                                   // vector on the other
constexpr int64_t kTasksOfTiles = 32;  // at least, so that no thread has much more to do than another
constexpr int64_t kUnit = kSums / 2;  // tiles of a task are a multiple of this: rows of a product, or half of them

// A kernel, transformed: [group][block of outputs][point][input][output of the block], zeros beyond the last output.
template <typename F>
struct TransformedKernel {
  int64_t group_in, group_out, block, blocks, plane;
  Buffer buffer;
  float* values;

  // `transposed` gives the kernel of the gradient with respect to x: taps reversed, inputs and outputs exchanged.
  TransformedKernel(ffi::ThreadPool& pool, const Array& kernel, int64_t groups, bool transposed) {
    auto d = kernel.dimensions();
    int64_t in = d[2], out = d[3] / groups;
    group_in = transposed ? out : in, group_out = transposed ? in : out;
    for (block = 4; block < std::min(group_out, kBlock);) block *= 2;
    blocks = Ceil(group_out, block), plane = Plane(group_in * block);
    values = buffer.Get(groups * blocks * F::points * plane);
    ParallelFor(pool, groups * blocks, [&](int64_t task) {
      int64_t g = task / blocks, first = task % blocks * block, count = std::min(block, group_out - first);
      for (int64_t i = 0; i < group_in; ++i) {
        float taps[9][kBlock] = {};
        for (int tap = 0; tap < 9; ++tap) {
          const float* from = kernel.typed_data() + (transposed ? 8 - tap : tap) * in * d[3] + g * out;
          // The next lines lie too far from each other for the processor to guess.
          if (!transposed && i + 8 < group_in) __builtin_prefetch(from + (i + 8) * d[3] + first);
          if (!transposed) std::memcpy(taps[tap], from + i * d[3] + first, count * sizeof(float));
          else for (int64_t o = 0; o < count; ++o) taps[tap][o] = from[(first + o) * d[3] + i];
        }
        auto transform = [&](auto lanes) {
          constexpr int N = decltype(lanes)::value;
          for (int64_t v = 0; v < block; v += N) {
            Floats<N> of_taps[9], transformed[F::points];
            for (int tap = 0; tap < 9; ++tap) of_taps[tap] = Load<N>(taps[tap] + v);
            Transform<typename F::ByG>(of_taps, transformed);
            for (int p = 0; p < F::points; ++p)
              Store<N>(values + (task * F::points + p) * plane + i * block + v, transformed[p]);
          }
        };
        if (block < kLanes) transform(Constant<4>{});
        else transform(Constant<kLanes>{});
      }
    });
  }
  const float* At(int64_t group, int64_t b, int64_t point) const {
    return values + ((group * blocks + b) * F::points + point) * plane;
  }
};

// `outputs` channels of the outputs of one tile, from [point][.. of a plane]; `halved` adds its 2 x 2 pixels to one.
// `streamed` is for images of IsStreamed from a channel on that is a multiple of kLanes.
template <typename F>
void StoreTile(const float* products, int64_t plane, const Tile& tile, const Shape& out, int64_t outputs,
               const float* bias, bool halved, bool streamed, float* y) {
  constexpr int kSide = F::tile;
  for (int64_t channel = 0; channel < outputs; channel += kLanes) {
    Floats<kLanes> points[F::points], pixels[kSide * kSide];
#pragma GCC unroll 36
    for (int p = 0; p < F::points; ++p) points[p] = Load<kLanes>(products + p * plane + channel);
    Transform<typename F::ByTransposedA>(points, pixels);
    if (halved) pixels[0] = (pixels[0] + pixels[1]) + (pixels[2] + pixels[3]);
    int64_t left = outputs - channel;
    float added[kLanes] = {};
    if (bias) std::memcpy(added, bias + channel, std::min<int64_t>(left, kLanes) * sizeof(float));
    for (int i = 0; i < (halved ? 1 : kSide * kSide); ++i) {
      int64_t row = halved ? tile.row / 2 : tile.row + i / kSide;
      int64_t column = halved ? tile.column / 2 : tile.column + i % kSide;
      if (row >= out.height || column >= out.width) continue;
      float* to = y + ((tile.n * out.height + row) * out.width + column) * out.channels + channel;
      auto sum = bias ? pixels[i] + Load<kLanes>(added) : pixels[i];
      if (left >= kLanes) Store<kLanes>(to, sum, streamed);
      else std::memcpy(to, &sum, left * sizeof(float));
    }
  }
}

// A task takes some tiles, and some blocks of outputs of one group or all of several groups.
template <typename F>
void Convolve(ffi::ThreadPool& pool, const Array& x, const Array& kernel, const Array& bias, Result& y, int64_t groups,
              int64_t top, int64_t left, bool transposed, bool doubled) {
  Shape in(x.dimensions()), out(y->dimensions());
  TransformedKernel<F> weights(pool, kernel, groups, transposed);
  int64_t group_in = weights.group_in, group_out = weights.group_out, block = weights.block;
  if (transposed) top = 2 - top, left = 2 - left;
  bool halved = doubled && transposed;
  Shape tiled = out;
  if (halved) tiled.height *= 2, tiled.width *= 2;
  Tiles tiles(tiled, F::tile);
  int64_t narrower = std::min(group_in, group_out), wider = std::max(group_in, group_out);
  int64_t chunk = std::max<int64_t>(1, std::min(groups, std::max(kTogether / wider, kLanes / narrower)));
  if (group_out != block) chunk = 1;
  int64_t chunks = Ceil(groups, chunk), step = Ceil(chunk * group_in, kLanes) * kLanes;
  int64_t width = weights.blocks > 1 ? block : Ceil(chunk * block, kLanes) * kLanes;
  bool streamed = IsStreamed(y) && chunk * group_out % kLanes == 0;
  // Products lie where their inputs were: a tile of a product reads its rows before it stores them, and all channels of a
  // group are stored by one product.
  bool in_place = weights.blocks == 1 && group_in == block && width == step;
  int64_t most = kTileBytes / (int64_t(sizeof(float)) * F::points * step * kUnit);
  int64_t enough = std::min<int64_t>({most, 8, Ceil(tiles.count, kTasksOfTiles * kUnit)});
  int64_t together = std::max<int64_t>(1, enough) * kUnit;
  int64_t parts_of_tiles = Ceil(tiles.count, together);
  int64_t parts = std::min(weights.blocks, Ceil(kLeastTasks, parts_of_tiles * chunks));
  const float* add = bias.element_count() ? bias.typed_data() : nullptr;
  int64_t bias_stride = bias.dimensions()[0] == 1 ? 0 : bias.dimensions()[1];

  ParallelFor(pool, parts_of_tiles * chunks * parts, [&](int64_t task) {
    int64_t part = task % parts, group = task / parts % chunks * chunk, first = task / parts / chunks * together;
    int64_t count = std::min(together, tiles.count - first), last_group = std::min(groups, group + chunk);
    int64_t plane = Plane(together * step), products_plane = Plane(together * width);
    static thread_local Buffer of_inputs, of_products;
    float* inputs = of_inputs.Get(F::points * plane);
    float* products = in_place ? inputs : of_products.Get(F::points * products_plane);
    Tile tile(tiles, first);
    for (int64_t t = 0; t < count; ++t, tile.Next(tiles))
      TransformPixels<typename F::ByB>(x.typed_data(), in, tile.n, tile.row - top, tile.column - left,
                                       doubled && !halved, group * group_in, (last_group - group) * group_in,
                                       inputs + t * step, plane, step, 0);
    for (int p = 0; p < F::points; ++p)
      if (IsZero(p, doubled)) std::fill_n(products + p * products_plane, together * width, 0.0f);
    for (int64_t b = weights.blocks * part / parts; b < weights.blocks * (part + 1) / parts; ++b) {
      for (int64_t p = 0; p < F::points; ++p) {
        if (IsZero(p, doubled)) continue;
        for (int64_t g = group; g < last_group; ++g) {
          auto multiply = [&](auto lanes, auto vectors) {
            Product<decltype(lanes)::value, decltype(vectors)::value, false>(
                inputs + p * plane + (g - group) * group_in, step, 1, weights.At(g, b, p), block, group_in,
                products + p * products_plane + (g - group) * block, width, count);
          };
          if (block == 4) multiply(Constant<4>{}, Constant<1>{});
          else if (block == 8) multiply(Constant<std::min(8, kLanes)>{}, Constant<8 / std::min(8, kLanes)>{});
          else if (group_out - b * block > kLanes) multiply(Constant<kLanes>{}, Constant<2>{});
          else multiply(Constant<kLanes>{}, Constant<1>{});
        }
      }
      int64_t channel = group * group_out + b * block;
      int64_t outputs = chunk > 1 ? (last_group - group) * group_out : std::min(block, group_out - b * block);
      Tile to(tiles, first);
      for (int64_t t = 0; t < count; ++t, to.Next(tiles))
        StoreTile<F>(products + t * width, products_plane, to, out, outputs,
                     add ? add + to.n * bias_stride + channel : nullptr, halved, streamed, y->typed_data() + channel);
    }
    EndOfStream();
  });
}

}  // namespace

// y = convolution of x + bias, in tiles of `tile` x `tile` outputs; bias is [batch or 1, out channels], or [batch, 0] for
// none.
ffi::Error WinogradConv(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Result y, int64_t groups, int64_t top,
                        int64_t bottom, int64_t left, int64_t right, int64_t tile, bool transposed, bool doubled) {
  auto of_x = x.dimensions(), of_y = y->dimensions(), d = kernel.dimensions();
  if (transposed) std::swap(of_x, of_y);
  if (!IsThreeByThree(of_x, d, of_y, groups, {1, 1, top, bottom, left, right}, tile, doubled) ||
      !IsBias(bias.dimensions(), y->dimensions()))
    return DoNotFit();
  if (y->element_count() == 0) return ffi::Error::Success();
  auto convolve = tile == 2 ? Convolve<TwoByTwo> : Convolve<FourByFour>;
  convolve(pool, x, kernel, bias, y, groups, top, left, transposed, doubled);
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_winograd_conv, Guarded<WinogradConv>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Attr<int64_t>("groups").Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right").Attr<int64_t>("tile")
                                  .Attr<bool>("transposed").Attr<bool>("doubled"));

}  // namespace ddim_jax
