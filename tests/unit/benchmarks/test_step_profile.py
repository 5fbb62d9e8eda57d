import json

from benchmarks.speed.step_profile import operations
from benchmarks.speed.tables import step_profile

PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_computation.1 (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %sine.1 = f32[2]{0} sine(%p), metadata={op_name="jit(step)/draw_examples/vmap()/sin"}
}

ENTRY %main.9 (x: f32[4,8,8,16], w: f32[3,3,16,32]) -> f32[3,3,16,32] {
  %x = f32[4,8,8,16]{3,2,1,0} parameter(0)
  %w = f32[3,3,16,32]{3,2,1,0} parameter(1)
  %none = f32[4,0]{1,0} constant({ {}, {}, {}, {} })
  %copy_fusion.1 = f32[4,8,8,16]{3,2,1,0} fusion(%x), kind=kLoop, calls=%fused_computation.1, metadata={op_name="jit(step)/jvp(Net)/transpose"}
  %call.1 = f32[4,8,8,32]{3,2,1,0} custom-call(%copy_fusion.1, %w, %none), custom_call_target="ddim_jax_grouped_conv", metadata={op_name="jit(step)/jvp(Net)/down_0_conv_0/cond/ffi_call"}
  %norm.1 = (f32[4,8,8,32]{3,2,1,0}, f32[4,8]{1,0}) custom-call(%call.1), custom_call_target="ddim_jax_group_norm", metadata={op_name="jit(step)/jvp(Net)/down_0_norm_0/cond/ffi_call"}
  %y = f32[4,8,8,32]{3,2,1,0} get-tuple-element(%norm.1), index=0
  %call.2 = f32[4,8,8,16]{3,2,1,0} custom-call(%y, %w, %none), custom_call_target="ddim_jax_grouped_conv_transposed", metadata={op_name="jit(step)/transpose(jvp(Net))/down_0_conv_0/cond/ffi_call"}
  %call.3 = f32[3,3,16,32]{3,2,1,0} custom-call(%copy_fusion.1, %y), custom_call_target="ddim_jax_grouped_conv_grad_kernel", metadata={op_name="jit(step)/transpose(jvp(Net))/down_0_conv_0/cond/ffi_call"}
  %call.4 = f32[4,8,8,16]{3,2,1,0} custom-call(%y, %w, %none), custom_call_target="ddim_jax_winograd_conv", metadata={op_name="jit(step)/transpose(jvp(Net))/down_0_conv_0/cond/ffi_call"}
  %own.1 = f32[4,8,8,16]{3,2,1,0} convolution(%y, %w), dim_labels=b01f_01oi->b01f, metadata={op_name="jit(step)/transpose(jvp(Net))/down_0_conv_0/cond/conv_general_dilated"}
  %pool.1 = f32[4,4,4,16]{3,2,1,0} reduce-window(%own.1, %none), metadata={op_name="jit(step)/jvp(Net)/reduce_max"}
  ROOT %adam.1 = f32[3,3,16,32]{3,2,1,0} add(%w, %call.3), metadata={op_name="jit(step)/update/add"}
}
"""  # noqa: E501
FLOPS = 2 * 4 * 8 * 8 * 3 * 3 * 16 * 32


def test_operations_are_counted_under_what_they_are_for():
    found = operations(PROGRAM)
    assert {name: (one.kind, one.side, one.flops) for name, one in found.items()} == {
        "copy_fusion.1": ("augmentation and noise", None, 0),  # by what was fused into it, not by its last operation
        "call.1": ("3 x 3 convolutions, forward", 8, FLOPS),
        "norm.1": ("normalisation, forward", None, 0),
        "call.2": ("3 x 3 convolutions, input gradient", 8, FLOPS),
        "call.3": ("3 x 3 convolutions, weight gradient", 8, FLOPS),
        "call.4": ("3 x 3 convolutions, input gradient", 8, FLOPS),
        "own.1": ("3 x 3 convolutions, input gradient", 8, FLOPS),
        "pool.1": ("copies, joins, pooling, biases and loss", None, 0),
        "adam.1": ("optimiser and average", None, 0),
    }


def test_a_table_holds_one_network(tmp_path):
    row = {"parts": {"copies": 0.25}, "convolutions": [], "overhead_s": 0.5, "device": "CPU", "commit": "abc"}
    row |= {"package_version": "1", "isa": "avx2", "compile_cpu_s": {"trace": 1.0, "lower": 2.0, "compile": 3.0}}
    rows = [
        row | {"network": "trunk_ddim", "label": "now", "step_s": 0.75},
        row | {"network": "lightweight_ddim", "label": "before", "step_s": 7.0},
        row | {"network": "lightweight_ddim", "label": "now", "step_s": 6.0},
    ]
    (tmp_path / "docs/results").mkdir(parents=True)
    (tmp_path / "docs/results/step_profile.json").write_text(json.dumps({"rows": rows}))
    assert "| **a step** | 750 ms |\n" in step_profile(tmp_path)
    assert "| **a step** | 7 s | 6 s |\n" in step_profile(tmp_path, "lightweight_ddim")
