// The gradient of a convolution by minimal filtering with respect to its kernel of 3 x 3 (winograd.cc has the rest).
//
// It is the transpose of the same: the sum over the tiles of the products of transformed inputs and transformed
// gradients, [inputs, tiles] times [tiles, outputs], transformed back.

#include "winograd.h"

namespace ddim_jax {
namespace {

constexpr int64_t kChannels = 64;      // of inputs and of outputs of a task, at most or little more
constexpr int64_t kInputsBack = 4;     // whose sums a task transforms back, where parts are added
constexpr int64_t kTiles = 2 * kSums;  // whose products are summed before the sums are stored

// A task sums some inputs times some outputs of one group over some of the tiles: over all of them where that makes tasks
// enough. Else the parts are added in their order at the end, so the result does not depend on the number of threads.
template <typename F>
void SumOverTiles(ffi::ThreadPool& pool, const Array& x, const Array& gradient, Result& dk, int64_t groups, int64_t top,
                  int64_t left, bool doubled) {
  auto d = dk->dimensions();
  Shape in(x.dimensions()), out(gradient.dimensions());
  Tiles tiles(out, F::tile);
  int64_t group_in = d[2], group_out = d[3] / groups;
  // Ranges of channels as equal as can be, in whole tiles of a product.
  int64_t in_parts = Ceil(group_in, kChannels), out_parts = Ceil(group_out, kChannels);
  int64_t in_width = Ceil(Ceil(group_in, in_parts), kSums) * kSums;
  int64_t out_blocks = Ceil(Ceil(group_out, out_parts), kBlock), out_width = out_blocks * kBlock;
  in_parts = Ceil(group_in, in_width), out_parts = Ceil(group_out, out_width);
  int64_t channel_tasks = groups * in_parts * out_parts;
  int64_t parts = std::max<int64_t>(1, std::min(Ceil(kLeastTasks, channel_tasks), Ceil(tiles.count, kTiles)));
  int64_t size = F::points * out_width * in_width;  // of a task's sums: [point][block of outputs][input][output]
  Buffer of_sums;
  float* sums = parts > 1 ? of_sums.Get(parts * channel_tasks * size) : nullptr;

  // Transforms the sums of a task, and of those `channel_tasks` behind it, back; those of inputs first .. last alone.
  auto transform_back = [&](int64_t task, const float* of_task, int64_t first, int64_t last) {
    int64_t o = task % out_parts * out_width, i = task / out_parts % in_parts * in_width;
    int64_t g = task / out_parts / in_parts;
    int64_t outputs = std::min(out_width, group_out - o);
    for (int64_t k = first; k < std::min({last, in_width, group_in - i}); ++k)
      for (int64_t c = 0; c < outputs; c += kLanes) {
        Floats<kLanes> points[F::points], taps[9];
        for (int p = 0; p < F::points; ++p) {
          const float* from = of_task + ((p * out_blocks + c / kBlock) * in_width + k) * kBlock + c % kBlock;
          points[p] = Load<kLanes>(from);
          for (int64_t part = 1; part < parts; ++part) points[p] += Load<kLanes>(from + part * channel_tasks * size);
        }
        Transform<typename F::ByTransposedG>(points, taps);
        for (int tap = 0; tap < 9; ++tap) {
          float* to = dk->typed_data() + (tap * group_in + i + k) * d[3] + g * group_out + o + c;
          std::memcpy(to, &taps[tap], std::min<int64_t>(kLanes, outputs - c) * sizeof(float));
        }
      }
  };

  ParallelFor(pool, parts * channel_tasks, [&](int64_t task) {
    int64_t o = task % out_parts * out_width, i = task / out_parts % in_parts * in_width;
    int64_t g = task / out_parts / in_parts % groups, part = task / channel_tasks;
    int64_t inputs = std::min(in_width, group_in - i), outputs = std::min(out_width, group_out - o);
    static thread_local Buffer of_x, of_gradient, of_task;
    float* to = parts > 1 ? sums + task * size : of_task.Get(size);
    std::fill_n(to, size, 0.0f);
    int64_t block = kTiles * kBlock;
    int64_t x_plane = Plane(kTiles * in_width), g_plane = Plane(out_blocks * block);
    float *xs = of_x.Get(F::points * x_plane), *gs = of_gradient.Get(F::points * g_plane);
    int64_t first = tiles.count * part / parts, last = tiles.count * (part + 1) / parts;
    if (first < last)  // else there are no tiles at all
      for (Tile tile(tiles, first); first < last; first += kTiles) {
        int64_t count = std::min(kTiles, last - first);
        for (int64_t t = 0; t < count; ++t, tile.Next(tiles)) {
          TransformPixels<typename F::ByB>(x.typed_data(), in, tile.n, tile.row - top, tile.column - left, doubled,
                                           g * group_in + i, inputs, xs + t * in_width, x_plane, in_width, 0);
          TransformPixels<typename F::ByA>(gradient.typed_data(), out, tile.n, tile.row, tile.column, false,
                                           g * group_out + o, outputs, gs + t * kBlock, g_plane, kBlock, block);
        }
        for (int64_t p = 0; p < F::points; ++p)
          for (int64_t b = 0; b * kBlock < outputs && !IsZero(p, doubled); ++b) {
            auto multiply = [&](auto vectors) {
              Product<kLanes, decltype(vectors)::value, true>(xs + p * x_plane, 1, in_width, gs + p * g_plane + b * block,
                                                              kBlock, count,
                                                              to + (p * out_blocks + b) * in_width * kBlock, kBlock, inputs);
            };
            if (outputs - b * kBlock > kLanes) multiply(Constant<2>{});
            else multiply(Constant<1>{});
          }
      }
    if (parts == 1) transform_back(task, to, 0, in_width);
  });
  int64_t pieces = Ceil(in_width, kInputsBack);
  if (parts > 1)
    ParallelFor(pool, channel_tasks * pieces, [&](int64_t piece) {
      int64_t task = piece / pieces, first = piece % pieces * kInputsBack;
      transform_back(task, sums + task * size, first, first + kInputsBack);
    });
}

}  // namespace

// The gradient with respect to the kernel, in tiles of `tile` x `tile` outputs.
ffi::Error WinogradConvGradKernel(ffi::ThreadPool pool, Array x, Array gradient, Result dk, int64_t groups, int64_t top,
                                  int64_t bottom, int64_t left, int64_t right, int64_t tile, bool doubled) {
  Window window{1, 1, top, bottom, left, right};
  if (!IsThreeByThree(x.dimensions(), dk->dimensions(), gradient.dimensions(), groups, window, tile, doubled))
    return DoNotFit();
  auto sum = tile == 2 ? SumOverTiles<TwoByTwo> : SumOverTiles<FourByFour>;
  sum(pool, x, gradient, dk, groups, top, left, doubled);
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_winograd_conv_grad_kernel, Guarded<WinogradConvGradKernel>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Ret<Array>()
                                  .Attr<int64_t>("groups").Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right").Attr<int64_t>("tile")
                                  .Attr<bool>("doubled"));

}  // namespace ddim_jax
