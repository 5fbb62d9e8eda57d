// The generator of JAX's random numbers, Threefry-2x32 with 20 rounds (Salmon et al. 2011), to the same bits. XLA makes a
// loop of small programs of every draw, each to be compiled, and passes over the numbers at every one of the rounds.

#include "common.h"

namespace ddim_jax {

using Words = ffi::Buffer<ffi::U32>;

constexpr int64_t kBlock = 1 << 12;

// y[b][i] = the two words of key b at the counter 0, first[b] + i.
ffi::Error Threefry(ffi::ThreadPool pool, Words keys, Words first, ffi::Result<Words> y) {
  Sizes of_keys = keys.dimensions(), of_first = first.dimensions(), of_y = y->dimensions();
  if (of_y.size() != 3 || of_y[2] != 2 || of_keys.size() != 2 || of_keys[0] != of_y[0] || of_keys[1] != 2 ||
      of_first.size() != 1 || of_first[0] != of_y[0])
    return DoNotFit();
  int64_t batch = y->dimensions()[0], count = y->dimensions()[1], blocks = (count + kBlock - 1) / kBlock;
  ParallelFor(pool, batch * blocks, [&](int64_t task) {
    int64_t b = task / blocks, from = task % blocks * kBlock, to = std::min(count, from + kBlock);
    uint32_t k[3] = {keys.typed_data()[2 * b], keys.typed_data()[2 * b + 1]}, start = first.typed_data()[b];
    k[2] = k[0] ^ k[1] ^ 0x1BD11BDAu;
    constexpr int kTurns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    uint32_t* out = y->typed_data() + 2 * b * count;
    for (int64_t i = from; i < to; ++i) {
      uint32_t p = k[0], q = start + static_cast<uint32_t>(i) + k[1];
#pragma GCC unroll 5
      for (uint32_t round = 0; round < 5; ++round) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          int turn = kTurns[round % 2][j];
          p += q;
          q = (q << turn | q >> (32 - turn)) ^ p;
        }
        p += k[(round + 1) % 3], q += k[(round + 2) % 3] + round + 1;
      }
      out[2 * i] = p, out[2 * i + 1] = q;
    }
  });
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(ddim_jax_threefry, Guarded<Threefry>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Words>().Arg<Words>().Ret<Words>());

}  // namespace ddim_jax
