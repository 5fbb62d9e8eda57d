"""A kernel that runs out of memory, on the thread of its caller or of a helper, is an error of the call."""

import ctypes
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ddim_jax.ops.cpu_kernels import library
from ddim_jax.runtime.errors import report_input_errors

SOURCE = """
#include "common.h"
#include <stdexcept>
using namespace ddim_jax;
// Its tasks count themselves; all, or those of the helpers alone, then fail.
ffi::Error Failing(ffi::ThreadPool pool, Result done, int64_t kind) {
  std::atomic<int64_t> count{0};
  auto caller = std::this_thread::get_id();
  auto body = [&](int64_t) {
    ++count;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (kind == 1) throw std::runtime_error("a task failed");
    if (kind == 2 || (kind == 3 && std::this_thread::get_id() != caller)) throw std::bad_alloc();
  };
  try {
    ParallelFor(pool, 64, body);
  } catch (...) {
    if (count != 64) return ffi::Error::InvalidArgument("a task was left out");
    throw;
  }
  *done->typed_data() = static_cast<float>(count.load());
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(failing, Guarded<Failing>::Call,
                              ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Ret<ffi::Buffer<ffi::F32>>()
                                  .Attr<int64_t>("kind"));
"""


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    if library.compiler() is None or jax.default_backend() != "cpu":
        pytest.skip("there is no C++ compiler, or no CPU")
    folder = tmp_path_factory.mktemp("failing")
    (folder / "failing.cc").write_text("#include <chrono>\n#include <thread>\n" + SOURCE)
    flags = [flag for flag in library.FLAGS if flag != "-O3"]
    places = [f"-I{jax.ffi.include_dir()}", f"-I{library.__file__.rpartition('/')[0]}"]
    made = folder / "failing.so"
    subprocess.run([*library.compiler(), *flags, *places, "-o", made, folder / "failing.cc"], check=True)
    handler = jax.ffi.pycapsule(ctypes.CDLL(str(made)).failing)
    jax.ffi.register_ffi_target("ddim_jax_test_failing", handler, platform="cpu")

    def call(kind):
        result = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.jit(lambda: jax.ffi.ffi_call("ddim_jax_test_failing", result)(kind=np.int64(kind)))()

    return call


def test_all_tasks_run(failing):
    assert failing(0) == 64


def test_an_error_of_a_task_is_one_of_the_call(failing):
    with pytest.raises(RuntimeError, match="a task failed"):
        failing(1).block_until_ready()


@pytest.mark.parametrize("kind", [2, 3])
def test_without_memory_the_advice_of_the_command_is_given(failing, kind, capsys):
    with pytest.raises(SystemExit), report_input_errors(need_less="Take a smaller batch."):
        failing(kind).block_until_ready()
    assert "not enough memory (no memory is left for the CPU kernels). Take a smaller batch." in capsys.readouterr().err
