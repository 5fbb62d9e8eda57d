// What the kernels share: vectors of floats, and what every handler checks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "parallel_for.h"
#include "xla/ffi/api/ffi.h"

namespace ddim_jax {

namespace ffi = xla::ffi;

template <int N>
struct Vector;
template <>
struct Vector<1> {
  typedef float type __attribute__((vector_size(4)));
  typedef int32_t integers __attribute__((vector_size(4)));
};
template <>
struct Vector<4> {
  typedef float type __attribute__((vector_size(16)));
  typedef int32_t integers __attribute__((vector_size(16)));
};
template <>
struct Vector<8> {
  typedef float type __attribute__((vector_size(32)));
  typedef int32_t integers __attribute__((vector_size(32)));
};
template <>
struct Vector<16> {
  typedef float type __attribute__((vector_size(64)));
  typedef int32_t integers __attribute__((vector_size(64)));
};

// Floats in the widest register of this processor. A wider vector compiles too, but GCC keeps it in memory, and a
// convolution takes several times as long.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::Result<ffi::Buffer<ffi::F32>>;

struct Shape {  // of images
  int64_t batch, height, width, channels;
  explicit Shape(ffi::Span<const int64_t> d) : batch(d[0]), height(d[1]), width(d[2]), channels(d[3]) {}
};

// What is read of an array is decided by the shape of another, so every handler looks at the shapes first.
using Sizes = ffi::Span<const int64_t>;

inline ffi::Error DoNotFit() {
  return ffi::Error::InvalidArgument("the shapes or types of the arrays do not fit each other");
}

inline bool IsSame(Sizes a, Sizes b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

struct Window {  // of a convolution: its strides, and the zeros around an image
  int64_t stride_rows, stride_columns, top, bottom, left, right;
};

// The pixels of a convolution's result along one axis of `size` pixels, zeros included.
inline int64_t OutSize(int64_t size, int64_t kernel, int64_t stride) {
  return std::max<int64_t>(0, size - kernel + stride) / stride;
}

// Is y [batch, H', W', out] what a kernel [kh, kw, in / groups, out] makes of x [batch, H, W, in], or of x with every
// pixel twice in both directions?
inline bool IsConvolution(Sizes x, Sizes kernel, Sizes y, int64_t groups, const Window& w, bool doubled = false) {
  if (x.size() != 4 || kernel.size() != 4 || y.size() != 4 || groups < 1 ||
      std::min({kernel[0], kernel[1], kernel[2], kernel[3]}) < 1 || std::min(w.stride_rows, w.stride_columns) < 1 ||
      std::min({w.top, w.bottom, w.left, w.right}) < 0)
    return false;
  int64_t times = doubled ? 2 : 1;
  return x[0] == y[0] && x[3] == groups * kernel[2] && y[3] == kernel[3] && kernel[3] % groups == 0 &&
         y[1] == OutSize(x[1] * times + w.top + w.bottom, kernel[0], w.stride_rows) &&
         y[2] == OutSize(x[2] * times + w.left + w.right, kernel[1], w.stride_columns);
}

// Is bias [batch or 1, channels of y], or [batch, 0] for none?
inline bool IsBias(Sizes bias, Sizes y) {
  return bias.size() == 2 && (bias[0] == y[0] || bias[0] == 1) && (bias[1] == y[3] || bias[1] == 0);
}

// The handler of a function: without memory it returns an error, where an exception would end the process.
template <auto kFunction>
struct Guarded;
template <typename... Arguments, ffi::Error (*kFunction)(Arguments...)>
struct Guarded<kFunction> {
  static ffi::Error Call(Arguments... arguments) {
    try {
      return kFunction(arguments...);
    } catch (const std::bad_alloc&) {
      return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory is left for the CPU kernels");
    } catch (const std::exception& error) {
      return ffi::Error(ffi::ErrorCode::kInternal, error.what());
    }
  }
};

// A number as a type, to pass template arguments to generic lambdas.
template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

// Loads and stores of N floats at any address.
template <int N>
inline __attribute__((always_inline)) typename Vector<N>::type Load(const float* from) {
  typename Vector<N>::type value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <int N>
inline __attribute__((always_inline)) void Store(float* to, typename Vector<N>::type value) {
  std::memcpy(to, &value, sizeof(value));
}

// Asks for the line of the cache that number `at` of an array lies in; `at` may be beyond the array's end.
inline __attribute__((always_inline)) void FetchAhead(const float* array, int64_t at) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(array) + at * sizeof(float)), 0, 2);
}

// Results that are so large have left the caches before they are read. A line of the cache that is written whole is read
// from memory first, unless the store goes past the caches; with AVX-512 a vector is such a line.
constexpr int64_t kStreamedFloats = 4 << 20;

// Are vectors of this array of images stored past the caches? Each has to begin at a channel that is a multiple of kLanes.
inline bool IsStreamed(Result& y) {
  return kLanes == 16 && y->element_count() >= kStreamedFloats && y->dimensions()[y->dimensions().size() - 1] % kLanes == 0 &&
         reinterpret_cast<uintptr_t>(y->typed_data()) % (kLanes * sizeof(float)) == 0;
}

// A store that, if `streamed`, goes past the caches; EndOfStream() has to follow in the same thread.
template <int N>
inline __attribute__((always_inline)) void Store(float* to, typename Vector<N>::type value, bool streamed) {
#if defined(__AVX512F__)
  if constexpr (N == 16)
    if (streamed) return _mm512_stream_ps(to, reinterpret_cast<__m512&>(value));
#endif
  Store<N>(to, value);
}

inline void EndOfStream() {
#if defined(__AVX512F__)
  _mm_sfence();
#endif
}

}  // namespace ddim_jax
