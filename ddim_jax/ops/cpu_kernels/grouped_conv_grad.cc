// The gradient of a grouped convolution with respect to its kernel, from planes (planes.h): vectors of gradients, or of
// inputs where groups have few outputs, are multiplied and summed over the pixels.

#include <vector>

#include "planes.h"

namespace ddim_jax {
namespace {

// Inputs of one tile beside v vectors of outputs; they come by eights.
constexpr int Inputs(int vectors) { return kLanes < 16 && vectors > 1 ? 4 : 8; }

// A plane of one block: where it starts, how far it is to the next image, row and pixel, and its channels.
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

}  // namespace

// The gradient with respect to the kernel. A task sums some of the channels over some of the blocks; the parts are added
// in their order at the end, so the result does not depend on the number of threads.
ffi::Error GroupedConvGradKernel(ffi::ThreadPool pool, Array x, Array gradient, Result dk, int64_t groups,
                                 int64_t stride_rows, int64_t stride_columns, int64_t top, int64_t bottom,
                                 int64_t left, int64_t right) {
  auto d = dk->dimensions();
  Window window{stride_rows, stride_columns, top, bottom, left, right};
  if (!IsConvolution(x.dimensions(), d, gradient.dimensions(), groups, window)) return DoNotFit();
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
  // Small images: several make a block, or loading and storing the sums would take longer than adding to them. Then the
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

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_grouped_conv_grad_kernel, Guarded<GroupedConvGradKernel>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Ret<Array>()
                                  .Attr<int64_t>("groups").Attr<int64_t>("stride_rows")
                                  .Attr<int64_t>("stride_columns").Attr<int64_t>("top").Attr<int64_t>("bottom")
                                  .Attr<int64_t>("left").Attr<int64_t>("right"));

}  // namespace ddim_jax
