// Puts the channels of two arrays of float32 images behind each other, on all threads: XLA's own copy has one.

#include "common.h"

namespace ddim_jax {

constexpr int64_t kTaskFloats = 1 << 15;

ffi::Error Join(ffi::ThreadPool pool, Array x, Array y, Result joined) {
  Sizes of_x = x.dimensions(), of_y = y.dimensions(), of_both = joined->dimensions();
  if (of_x.size() != 4 || of_y.size() != 4 || of_both.size() != 4 || of_x[3] + of_y[3] != of_both[3] ||
      !IsSame(of_x.first(3), of_both.first(3)) || !IsSame(of_y.first(3), of_both.first(3)))
    return DoNotFit();
  if (joined->element_count() == 0) return ffi::Error::Success();
  int64_t channels = of_both[3], pixels = of_both[0] * of_both[1] * of_both[2];
  int64_t some = std::max<int64_t>(1, kTaskFloats / channels);
  bool vectors = of_x[3] % kLanes == 0 && of_y[3] % kLanes == 0, streamed = vectors && IsStreamed(joined);
  auto copy = [&](const float* from, int64_t count, float* to) {
    if (count && !vectors) std::memcpy(to, from, count * sizeof(float));
    else for (int64_t i = 0; i < count; i += kLanes) Store<kLanes>(to + i, Load<kLanes>(from + i), streamed);
  };
  ParallelFor(pool, (pixels + some - 1) / some, [&](int64_t task) {
    for (int64_t p = task * some; p < std::min(pixels, (task + 1) * some); ++p) {
      float* to = joined->typed_data() + p * channels;
      copy(x.typed_data() + p * of_x[3], of_x[3], to);
      copy(y.typed_data() + p * of_y[3], of_y[3], to + of_x[3]);
    }
    EndOfStream();
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_join, Guarded<Join>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Ret<Array>());

}  // namespace ddim_jax
