// An update of all weights of a network in one pass over them: Adam and the moving average; and the norm of all gradients.
// XLA makes a few programs of its own for every array, each to be compiled, started and waited for.

#include <cmath>
#include <vector>

#include "common.h"

namespace ddim_jax {

using Scalar = ffi::Result<ffi::BufferR0<ffi::F32>>;

constexpr int64_t kPartFloats = 1 << 14;

// A part of one array, which is a task.
struct Part {
  size_t array;
  int64_t first, last;
};

std::vector<Part> Parts(const std::vector<int64_t>& sizes) {
  std::vector<Part> parts;
  for (size_t i = 0; i < sizes.size(); ++i)
    for (int64_t first = 0; first < sizes[i]; first += kPartFloats)
      parts.push_back({i, first, std::min(sizes[i], first + kPartFloats)});
  return parts;
}

// Is an array float32? They come in any number, so XLA does not ask.
bool IsFloat(const ffi::AnyBuffer& array) { return array.element_type() == ffi::F32; }

// Returns the square root of the sum of the squares of all arrays, summed in float64 in an order that the shapes decide.
ffi::Error Norm(ffi::ThreadPool pool, ffi::RemainingArgs arrays, Scalar norm) {
  std::vector<const float*> data;
  std::vector<int64_t> sizes;
  for (size_t i = 0; i < arrays.size(); ++i) {
    auto array = arrays.get<ffi::AnyBuffer>(i);
    if (!array.has_value()) return array.error();
    if (!IsFloat(*array)) return DoNotFit();
    data.push_back(array->typed_data<float>());
    sizes.push_back(array->element_count());
  }
  std::vector<Part> parts = Parts(sizes);
  std::vector<double> sums(parts.size());
  ParallelFor(pool, parts.size(), [&](int64_t task) {
    const Part& part = parts[task];
    const float* x = data[part.array];
    double lanes[8] = {};
    int64_t i = part.first;
    for (; i + 8 <= part.last; i += 8)
      for (int k = 0; k < 8; ++k) lanes[k] += static_cast<double>(x[i + k]) * x[i + k];
    for (; i < part.last; ++i) lanes[0] += static_cast<double>(x[i]) * x[i];
    for (double lane : lanes) sums[task] += lane;
  });
  double total = 0.0;
  for (double sum : sums) total += sum;
  *norm->typed_data() = static_cast<float>(std::sqrt(total));
  return ffi::Error::Success();
}

// The arrays are the gradients, the weights, both moments and the average, each kind in the same order; the results are the
// last four, in the same memory. numbers: the factor of the gradients, the learning rate, the two factors that correct the
// moments, and the share of the average that stays; further numbers are not read.
ffi::Error Adam(ffi::ThreadPool pool, Array numbers, ffi::RemainingArgs arrays, ffi::RemainingRets results, float beta1,
                float beta2, float epsilon) {
  size_t count = arrays.size() / 5;
  if (numbers.element_count() < 5 || arrays.size() != 5 * count || results.size() != 4 * count) return DoNotFit();
  std::vector<std::vector<float*>> in(5, std::vector<float*>(count)), out(4, std::vector<float*>(count));
  std::vector<Sizes> shapes(count);
  std::vector<int64_t> sizes(count);
  for (size_t i = 0; i < arrays.size(); ++i) {
    auto array = arrays.get<ffi::AnyBuffer>(i);
    if (!array.has_value()) return array.error();
    if (i < count) shapes[i] = array->dimensions(), sizes[i] = array->element_count();
    if (!IsFloat(*array) || !IsSame(shapes[i % count], array->dimensions())) return DoNotFit();
    in[i / count][i % count] = array->typed_data<float>();
  }
  for (size_t i = 0; i < results.size(); ++i) {
    auto result = results.get<ffi::AnyBuffer>(i);
    if (!result.has_value()) return result.error();
    if (!IsFloat(**result) || !IsSame(shapes[i % count], (*result)->dimensions())) return DoNotFit();
    out[i / count][i % count] = (*result)->typed_data<float>();
  }
  const float* n = numbers.typed_data();
  float factor = n[0], rate = n[1], correct1 = n[2], correct2 = n[3], stays = n[4];
  std::vector<Part> parts = Parts(sizes);
  ParallelFor(pool, parts.size(), [&](int64_t task) {
    size_t a = parts[task].array;
    const float *gradient = in[0][a], *weight = in[1][a], *first = in[2][a], *second = in[3][a], *average = in[4][a];
    float *to_weight = out[0][a], *to_first = out[1][a], *to_second = out[2][a], *to_average = out[3][a];
#pragma GCC ivdep
    for (int64_t i = parts[task].first; i < parts[task].last; ++i) {
      float g = gradient[i] * factor;
      float m = beta1 * first[i] + (1.0f - beta1) * g, v = beta2 * second[i] + (1.0f - beta2) * g * g;
      float w = weight[i] - rate * (m * correct1) / (std::sqrt(v * correct2) + epsilon);
      to_first[i] = m, to_second[i] = v, to_weight[i] = w;
      to_average[i] = stays * average[i] + (1.0f - stays) * w;
    }
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_norm, Guarded<Norm>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs()
                                  .Ret<ffi::BufferR0<ffi::F32>>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_adam, Guarded<Adam>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().RemainingArgs().RemainingRets()
                                  .Attr<float>("beta1").Attr<float>("beta2").Attr<float>("epsilon"));

}  // namespace ddim_jax
