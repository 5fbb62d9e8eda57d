// Ordinary convolution, one group and strides of 1, of float32 images in NHWC that stay where they lie.
//
// For two cases in which copying pixels into planes (planes.h) or transforming the kernel (winograd.cc) takes longer
// than the products. A kernel of 1 x 1 uses each number of a pixel once for each output, so that a copy is not worth it.
// And where there are few pixels, each weight is used a few times only; a kernel of 3 x 3 on images of 2 x 2 meets
// four pixels with four of its nine taps, and the five that only zeros would meet are left out.
//
// Both are the same sum: a tile is the same place of some images, which all meet the same taps; for a kernel of 1 x 1,
// every pixel counts as an image, unless zeros lie around the images.

#include <vector>

#include "common.h"

namespace ddim_jax {
namespace {

// A tile is up to Rows(v) images times v vectors of outputs: its sums fit into the registers, 16 with AVX and 32 with
// AVX-512 or NEON, beside the weights and a broadcast value, and are enough that none waits for the one before.
constexpr int Rows(int vectors) { return (kLanes == 16 ? 24 : 12) / vectors; }
constexpr int64_t kPictures = 192;  // of a task, a multiple of Rows(v)
constexpr int64_t kLeastTasks = 16;

// Where a place meets one tap: floats from the start of an image and of the kernel.
struct Tap {
  int64_t x, weights;
};

// rows x (kVectors * N) sums over the taps and `inputs` channels. Images lie `picture` floats apart, lines of weights
// `line`; bias[r] is the start of what is added to row r, or null.
template <int N, int kVectors, int rows>
inline void Tile(const float* x, int64_t picture, const std::vector<Tap>& taps, int64_t inputs, const float* weights,
                 int64_t line, const float* const* bias, float* y, int64_t y_picture) {
  typename Vector<N>::type sums[rows][kVectors];
#pragma GCC unroll 32
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = typename Vector<N>::type{};
  for (const Tap& tap : taps) {
    const float *a = x + tap.x, *b = weights + tap.weights;
    for (int64_t i = 0; i < inputs; ++i, b += line) {
      typename Vector<N>::type w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = Load<N>(b + v * N);
#pragma GCC unroll 32
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < kVectors; ++v) sums[r][v] += a[r * picture + i] * w[v];
    }
  }
#pragma GCC unroll 32
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v)
      Store<N>(y + r * y_picture + v * N, bias[r] ? sums[r][v] + Load<N>(bias[r] + v * N) : sums[r][v]);
}

// Calls tile(Constant<rows>) for the rows that are left, 1 .. kMost.
template <int kMost, typename Body>
inline void WithRows(int64_t rows, const Body& tile) {
  if constexpr (kMost > 1)
    if (rows < kMost) return WithRows<kMost - 1>(rows, tile);
  tile(Constant<kMost>{});
}

}  // namespace

// y = convolution of x + bias; bias is [batch or 1, out channels], or [batch, 0] for none. A task takes one place of some
// images, and where there are few such tasks one block of outputs.
ffi::Error InPlaceConv(ffi::ThreadPool pool, Array x, Array kernel, Array bias, Result y, int64_t top, int64_t bottom,
                       int64_t left, int64_t right) {
  auto d = kernel.dimensions();
  if (!IsConvolution(x.dimensions(), d, y->dimensions(), 1, {1, 1, top, bottom, left, right}) ||
      !IsBias(bias.dimensions(), y->dimensions()))
    return DoNotFit();
  if (y->element_count() == 0) return ffi::Error::Success();
  Shape in(x.dimensions()), out(y->dimensions());
  int64_t of_bias = 1;  // rows of a tile that share a line of it
  if (d[0] == 1 && d[1] == 1 && in.height == out.height && in.width == out.width) {  // no zeros on any side
    of_bias = in.height * in.width;
    for (Shape* shape : {&in, &out}) shape->batch *= shape->height * shape->width, shape->height = shape->width = 1;
  }
  const float* add = bias.element_count() ? bias.typed_data() : nullptr;
  bool shared = bias.dimensions()[0] == 1;
  int64_t places = out.height * out.width, parts = (in.batch + kPictures - 1) / kPictures;
  int64_t block = places * parts >= kLeastTasks ? out.channels : 2 * kLanes;
  int64_t blocks = (out.channels + block - 1) / block;
  int64_t x_picture = in.height * in.width * in.channels, y_picture = places * out.channels;

  ParallelFor(pool, blocks * parts * places, [&](int64_t task) {
    int64_t place = task % places, part = task / places % parts, first = task / places / parts * block;
    int64_t row = place / out.width, column = place % out.width;
    static thread_local std::vector<Tap> taps;
    taps.clear();
    for (int64_t r = std::max<int64_t>(0, top - row); r < std::min(d[0], in.height + top - row); ++r)
      for (int64_t c = std::max<int64_t>(0, left - column); c < std::min(d[1], in.width + left - column); ++c)
        taps.push_back({((row + r - top) * in.width + column + c - left) * in.channels,
                        (r * d[1] + c) * in.channels * out.channels});
    int64_t begin = part * kPictures, end = std::min(in.batch, begin + kPictures);
    const float* biases[kPictures];
    for (int64_t n = begin; n < end; ++n)
      biases[n - begin] = add ? add + (shared ? 0 : n / of_bias * out.channels) : nullptr;
    int64_t o = first, last = std::min(out.channels, first + block);
    auto sweep = [&](auto lanes, auto vectors) {
      constexpr int N = decltype(lanes)::value, kVectors = decltype(vectors)::value, kRows = Rows(kVectors);
      for (; o + N * kVectors <= last; o += N * kVectors) {
        for (int64_t n = begin; n < end; n += kRows) {
          const float* of_rows[kRows];
          for (int r = 0; r < kRows && n + r < end; ++r) of_rows[r] = biases[n + r - begin] ? biases[n + r - begin] + o : nullptr;
          WithRows<kRows>(end - n, [&](auto rows) {
            Tile<N, kVectors, decltype(rows)::value>(
                x.typed_data() + n * x_picture, x_picture, taps, in.channels, kernel.typed_data() + o, out.channels,
                of_rows, y->typed_data() + n * y_picture + place * out.channels + o, y_picture);
          });
        }
      }
    };
    sweep(Constant<kLanes>{}, Constant<2>{});
    sweep(Constant<kLanes>{}, Constant<1>{});
    sweep(Constant<4>{}, Constant<1>{});
    sweep(Constant<1>{}, Constant<1>{});
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_in_place_conv, Guarded<InPlaceConv>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right"));

}  // namespace ddim_jax
