// Group normalisation of float32 images in NHWC, optionally followed by SiLU, and its gradients: two passes over the data
// each. Sums run in float32 over kFlush pixels relative to one pixel of the group, then in float64.

#include <algorithm>
#include <cmath>
#include <vector>

#include "common.h"

namespace ddim_jax {

constexpr int64_t kFlush = 64;
constexpr int64_t kChunkFloats = 1 << 15;
constexpr int64_t kTogetherFloats = 1 << 12;

// exp(-z) to 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' coefficients).
template <int N>
inline __attribute__((always_inline)) typename Vector<N>::type ExpOfMinus(typename Vector<N>::type z) {
  using V = typename Vector<N>::type;
  using I = typename Vector<N>::integers;
  z = z < -89.0f ? V{} - 89.0f : z;  // n is 128 below -88.4, and the result infinite
  z = z > 87.0f ? V{} + 87.0f : z;
  V x = -z;
  V n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // rounds to the nearest whole number
  V r = x - n * 0.693359375f + n * 2.12194440e-4f;
  V p = ((((r * 1.9875691500e-4f + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r +
         1.6666665459e-1f) * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  I bits = (__builtin_convertvector(n, I) + 127) << 23;
  V scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  return p * scale;
}

struct Layout {
  int64_t batch, pixels, channels, groups, width, chunk, chunks;
  Layout(ffi::Span<const int64_t> d, int64_t groups_)
      : batch(d[0]), pixels(d[1] * d[2]), channels(d[3]), groups(groups_), width(d[3] / groups_),
        chunk(std::max<int64_t>(1, kChunkFloats / d[3])), chunks((pixels + chunk - 1) / chunk) {}
};

// Are these x [batch, H, W, channels], with a pixel at least, in groups, and what belongs to each channel?
bool IsNorm(Sizes x, Sizes scale, Sizes bias, int64_t groups) {
  return x.size() == 4 && x[1] * x[2] > 0 && x[3] > 0 && groups > 0 && x[3] % groups == 0 && scale.size() == 1 &&
         bias.size() == 1 && scale[0] == x[3] && bias[0] == x[3];
}

// Is an array [batch, groups] of x?
bool IsOfGroups(Sizes array, Sizes x, int64_t groups) {
  return array.size() == 2 && array[0] == x[0] && array[1] == groups;
}

// Calls body(width, channel) so that the widths cover all channels.
template <typename Body>
inline __attribute__((always_inline)) void ForChannels(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) body(Constant<kLanes>{}, c);
  if constexpr (kLanes > 8)
    for (; c + 8 <= channels; c += 8) body(Constant<8>{}, c);
  for (; c < channels; ++c) body(Constant<1>{}, c);
}

// Two sums over the pixels of each channel: `terms(width, n, channel)` gives a function (offset, &first, &second) that adds
// one pixel's part. It holds what is the same for all pixels, by value: the compiler would fetch what is held by reference
// for every pixel again. The result is [batch][2][channels] in float64, summed in the same order on any number of threads.
template <typename Terms>
std::vector<double> ChannelSums(ffi::ThreadPool& pool, const Layout& l, const Terms& terms) {
  std::vector<double> partial(l.batch * l.chunks * 2 * l.channels, 0.0);
  ParallelFor(pool, l.batch * l.chunks, [&](int64_t task) {
    int64_t n = task / l.chunks, first = task % l.chunks * l.chunk, last = std::min(l.pixels, first + l.chunk);
    double* sums = &partial[task * 2 * l.channels];
    for (int64_t pixel = first; pixel < last; pixel += kFlush) {
      int64_t end = std::min(last, pixel + kFlush);
      ForChannels(l.channels, [&](auto width, int64_t c) {
        constexpr int N = decltype(width)::value;
        typename Vector<N>::type a{}, b{};
        auto add = terms(width, n, c);
        int64_t at = (n * l.pixels + pixel) * l.channels + c, step = l.channels;
        for (int64_t p = end - pixel; p > 0; --p, at += step) add(at, a, b);
        for (int i = 0; i < N; ++i) sums[c + i] += a[i], sums[l.channels + c + i] += b[i];
      });
    }
  });
  std::vector<double> total(l.batch * 2 * l.channels, 0.0);
  for (int64_t n = 0; n < l.batch; ++n)
    for (int64_t chunk = 0; chunk < l.chunks; ++chunk)
      for (int64_t i = 0; i < 2 * l.channels; ++i)
        total[n * 2 * l.channels + i] += partial[(n * l.chunks + chunk) * 2 * l.channels + i];
  return total;
}

// Pixels that are gone through channel by channel: as many as stay in the first-level cache.
inline int64_t Together(const Layout& l) { return std::max<int64_t>(1, kTogetherFloats / l.channels); }

// Calls, for every vector of every pixel, what `body(width, n, channel)` gives with its offset; as for `ChannelSums`, it
// holds by value what is the same for all pixels.
template <typename Body>
void ForEach(ffi::ThreadPool& pool, const Layout& l, const Body& body) {
  int64_t together = Together(l);
  ParallelFor(pool, l.batch * l.chunks, [&](int64_t task) {
    int64_t n = task / l.chunks, first = task % l.chunks * l.chunk, last = std::min(l.pixels, first + l.chunk);
    for (int64_t pixel = first; pixel < last; pixel += together) {
      int64_t end = std::min(last, pixel + together);
      ForChannels(l.channels, [&](auto width, int64_t c) {
        auto one = body(width, n, c);
        int64_t at = (n * l.pixels + pixel) * l.channels + c, step = l.channels;
        for (int64_t p = end - pixel; p > 0; --p, at += step) one(at);
      });
    }
    EndOfStream();
  });
}

// Also returns what the gradient needs of each group, all [batch, groups]: the mean, what its rounding to float32 has cut
// off, and 1 / deviation. A pixel near the mean less the rounded mean is exact, so what was cut off is added behind that.
ffi::Error GroupNorm(ffi::ThreadPool pool, Array x, Array scale, Array bias, Result y, Result means, Result rests,
                     Result inverses, int64_t groups, float eps, bool silu) {
  Sizes d = x.dimensions();
  if (!IsNorm(d, scale.dimensions(), bias.dimensions(), groups) || !IsSame(y->dimensions(), d) ||
      !IsOfGroups(means->dimensions(), d, groups) || !IsOfGroups(rests->dimensions(), d, groups) ||
      !IsOfGroups(inverses->dimensions(), d, groups))
    return DoNotFit();
  Layout l(x.dimensions(), groups);
  const float* in = x.typed_data();
  std::vector<float> pivot(l.batch * l.channels);
  for (int64_t n = 0; n < l.batch; ++n)
    for (int64_t c = 0; c < l.channels; ++c)
      pivot[n * l.channels + c] = in[n * l.pixels * l.channels + c / l.width * l.width];
  auto sums = ChannelSums(pool, l, [&](auto width, int64_t n, int64_t c) {
    constexpr int N = decltype(width)::value;
    return [in, of_group = Load<N>(&pivot[n * l.channels + c]), ahead = kFlush * l.channels](int64_t at, auto& a, auto& b) {
      if constexpr (N >= 8) FetchAhead(in, at + ahead);
      auto d = Load<N>(in + at) - of_group;
      a += d;
      b += d * d;
    };
  });
  float *mean = means->typed_data(), *rest = rests->typed_data(), *inverse = inverses->typed_data();
  std::vector<float> centre(l.batch * l.channels), factor(l.batch * l.channels), offset(l.batch * l.channels);
  for (int64_t n = 0; n < l.batch; ++n)
    for (int64_t g = 0; g < l.groups; ++g) {
      double a = 0.0, b = 0.0, count = static_cast<double>(l.pixels) * l.width;
      for (int64_t c = g * l.width; c < (g + 1) * l.width; ++c)
        a += sums[n * 2 * l.channels + c], b += sums[(n * 2 + 1) * l.channels + c];
      double variance = b / count - a / count * (a / count);
      if (variance < 0.0) variance = 0.0;  // but one that is no number stays none
      double exact = pivot[n * l.channels + g * l.width] + a / count;
      mean[n * l.groups + g] = static_cast<float>(exact);
      rest[n * l.groups + g] = static_cast<float>(exact - mean[n * l.groups + g]);
      inverse[n * l.groups + g] = static_cast<float>(1.0 / std::sqrt(variance + eps));
      for (int64_t c = g * l.width; c < (g + 1) * l.width; ++c) {
        centre[n * l.channels + c] = mean[n * l.groups + g];
        factor[n * l.channels + c] = inverse[n * l.groups + g] * scale.typed_data()[c];
        offset[n * l.channels + c] = bias.typed_data()[c] - rest[n * l.groups + g] * factor[n * l.channels + c];
      }
    }
  auto apply = [&](auto activate) {
    ForEach(pool, l, [&](auto width, int64_t n, int64_t c) {
      constexpr int N = decltype(width)::value;
      return [in, out = y->typed_data(), mean = Load<N>(&centre[n * l.channels + c]),
              slope = Load<N>(&factor[n * l.channels + c]), shift = Load<N>(&offset[n * l.channels + c]),
              ahead = Together(l) * l.channels, streamed = IsStreamed(y)](int64_t at) {
        if constexpr (N >= 8) FetchAhead(in, at + ahead);
        auto z = (Load<N>(in + at) - mean) * slope + shift;
        if constexpr (decltype(activate)::value) z = z / (1.0f + ExpOfMinus<N>(z));
        Store<N>(out + at, z, streamed);
      };
    });
  };
  if (silu) apply(Constant<1>{}); else apply(Constant<0>{});
  return ffi::Error::Success();
}

ffi::Error GroupNormGrad(ffi::ThreadPool pool, Array x, Array scale, Array bias, Array mean, Array rest,
                         Array inverse, Array gradient, Result dx, Result dscale, Result dbias, int64_t groups, bool silu) {
  Sizes d = x.dimensions();
  if (!IsNorm(d, scale.dimensions(), bias.dimensions(), groups) || !IsOfGroups(mean.dimensions(), d, groups) ||
      !IsOfGroups(rest.dimensions(), d, groups) || !IsOfGroups(inverse.dimensions(), d, groups) ||
      !IsSame(gradient.dimensions(), d) || !IsSame(dx->dimensions(), d) ||
      !IsSame(dscale->dimensions(), scale.dimensions()) || !IsSame(dbias->dimensions(), bias.dimensions()))
    return DoNotFit();
  Layout l(x.dimensions(), groups);
  const float *in = x.typed_data(), *dy = gradient.typed_data();
  std::vector<float> centre(l.batch * l.channels), deviation(l.batch * l.channels), cut_off(l.batch * l.channels);
  for (int64_t i = 0; i < l.batch * l.channels; ++i) {
    centre[i] = mean.typed_data()[i / l.width];
    deviation[i] = inverse.typed_data()[i / l.width];
    cut_off[i] = rest.typed_data()[i / l.width] * deviation[i];
  }
  auto run = [&](auto activate) {
    auto normaliser = [&](auto width, int64_t n, int64_t c) {
      constexpr int N = decltype(width)::value;
      int64_t i = n * l.channels + c;
      return [in, mean = Load<N>(&centre[i]), slope = Load<N>(&deviation[i]), shift = Load<N>(&cut_off[i])](
                 int64_t at) { return (Load<N>(in + at) - mean) * slope - shift; };
    };
    // The gradient before the activation is kept where the result will be: its exponential is taken once.
    float* kept = dx->typed_data();
    const float* dzs = decltype(activate)::value ? kept : dy;
    auto sums = ChannelSums(pool, l, [&](auto width, int64_t n, int64_t c) {
      constexpr int N = decltype(width)::value;
      return [dy, kept, normalised = normaliser(width, n, c), factor = Load<N>(scale.typed_data() + c),
              offset = Load<N>(bias.typed_data() + c)](int64_t at, auto& a, auto& b) {
        auto normal = normalised(at), dz = Load<N>(dy + at);
        if constexpr (decltype(activate)::value) {
          auto z = normal * factor + offset;
          auto s = 1.0f / (1.0f + ExpOfMinus<N>(z));
          dz = dz * s * (1.0f + z * (1.0f - s));
          Store<N>(kept + at, dz);
        }
        a += dz;
        b += dz * normal;
      };
    });
    std::vector<float> shift(l.batch * l.channels), slope(l.batch * l.channels);
    std::vector<double> of_bias(l.channels, 0.0), of_scale(l.channels, 0.0);
    double count = static_cast<double>(l.pixels) * l.width;
    for (int64_t n = 0; n < l.batch; ++n)
      for (int64_t g = 0; g < l.groups; ++g) {
        double a = 0.0, b = 0.0;
        for (int64_t c = g * l.width; c < (g + 1) * l.width; ++c) {
          double da = sums[n * 2 * l.channels + c], db = sums[(n * 2 + 1) * l.channels + c];
          of_bias[c] += da, of_scale[c] += db;
          a += scale.typed_data()[c] * da, b += scale.typed_data()[c] * db;
        }
        for (int64_t c = g * l.width; c < (g + 1) * l.width; ++c) {
          shift[n * l.channels + c] = static_cast<float>(a / count);
          slope[n * l.channels + c] = static_cast<float>(b / count);
        }
      }
    for (int64_t c = 0; c < l.channels; ++c) {
      dbias->typed_data()[c] = static_cast<float>(of_bias[c]);
      dscale->typed_data()[c] = static_cast<float>(of_scale[c]);
    }
    ForEach(pool, l, [&](auto width, int64_t n, int64_t c) {
      constexpr int N = decltype(width)::value;
      int64_t i = n * l.channels + c;
      return [dzs, kept, normalised = normaliser(width, n, c), factor = Load<N>(scale.typed_data() + c),
              mean = Load<N>(&shift[i]), of_normal = Load<N>(&slope[i]), outer = Load<N>(&deviation[i])](int64_t at) {
        Store<N>(kept + at, (Load<N>(dzs + at) * factor - mean - normalised(at) * of_normal) * outer);
      };
    });
  };
  if (silu) run(Constant<1>{}); else run(Constant<0>{});
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_group_norm, Guarded<GroupNorm>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Ret<Array>().Ret<Array>().Ret<Array>().Ret<Array>()
                                  .Attr<int64_t>("groups").Attr<float>("eps").Attr<bool>("silu"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_group_norm_grad, Guarded<GroupNormGrad>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Array>().Arg<Array>().Arg<Array>()
                                  .Arg<Array>().Arg<Array>().Arg<Array>().Arg<Array>().Ret<Array>().Ret<Array>()
                                  .Ret<Array>().Attr<int64_t>("groups").Attr<bool>("silu"));

}  // namespace ddim_jax
