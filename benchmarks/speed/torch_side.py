"""PyTorch's side, eager or through `torch.compile`, at its best; lives in a worker.

- Both memory formats are tried on the case itself, eagerly, and the faster is used; cuDNN finds its algorithms by
  trial.
- Inference runs in `inference_mode`; in bfloat16 its weights are bfloat16, which is faster than autocast.
- The training step has the fused Adam and a fused average. In bfloat16 the network, its activations and gradients are
  bfloat16, and Adam and the average work on float32 copies of the weights: faster than autocast, which takes group
  normalisation to float32 and back, and unlike bfloat16 weights alone it does not round small updates away.
- Segmentation runs all samples as one batch; the factors of every step are computed beforehand.
- "torch_compile" compiles the network in the default mode; the optimiser and the loop around it stay as they are.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.memory import high_water_bytes, reset_high_water, resident_bytes
from benchmarks.speed.cases import Case
from benchmarks.speed.inputs import Files, setting_of
from benchmarks.speed.torch_process import process_of
from benchmarks.speed.torch_trunk import TwinTrunk
from benchmarks.speed.torch_twin import TwinUNet, create_twin
from ddim_jax.checkpoints.torch_weights import load_state_dict

_FORMATS = (torch.channels_last, torch.contiguous_format)
_LONG_CALL_S = 10.0
"""From here on a first call tells enough; what it sets up beside does not count."""


class TorchSide:
    """One case on the side "torch_eager" or "torch_compile"; the methods are those of `JaxSide`."""

    def __init__(self, case: Case, files: Files, side: str, threads: int):
        torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        rounded = case.dtype != "float32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
        torch.backends.cudnn.benchmark = True
        torch.zeros(1, device=self._device)
        self._setting, self._process = setting_of(case.model), process_of(case.model, self._device)
        self._libraries = resident_bytes()
        self._case, self._files, self._side = case, files, side
        self._dtype = torch.bfloat16 if case.dtype == "bfloat16" else torch.float32
        with np.load(files.inputs) as stored:
            self._inputs = {name: _tensor(array).to(self._device) for name, array in stored.items()}
        self._once: Callable[..., Any] | None = None
        self._training: Training | None = None

    def compile(self) -> None:
        """Makes the step that is timed; PyTorch compiles, if at all, in its first call."""
        self._build(min(_FORMATS, key=self._trial), compiled=self._side == "torch_compile")

    def first(self) -> tuple[dict[str, np.ndarray], float]:
        began = time.perf_counter()
        given = {"train_step": ("t", "noise"), "segment": ("noise",), "forward": ()}[self._case.kind]
        output = self._once(*(self._inputs[name] for name in given))
        self._wait()
        seconds = time.perf_counter() - began
        if self._case.kind != "train_step":
            return {"output": output.float().movedim(1, -1).cpu().numpy()}, seconds
        return self._training_result(*output), seconds

    def run(self, calls: int) -> float:
        self._wait()
        began = time.perf_counter()
        for _ in range(calls):
            self._once()
        self._wait()
        return (time.perf_counter() - began) / calls

    def watch_memory(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            reset_high_water()

    def peak_bytes(self) -> int:
        """CPU: most resident since `watch_memory`, less the libraries. GPU: most allocated since `watch_memory`."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return high_water_bytes() - self._libraries

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _trial(self, memory_format: torch.memory_format) -> float:
        """Seconds of a call in a memory format."""
        self._build(memory_format, compiled=False)
        seconds = self.run(1)
        if seconds < _LONG_CALL_S:
            seconds = self.run(2)
        self._once = self._training = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return seconds

    def _build(self, memory_format: torch.memory_format, *, compiled: bool) -> None:
        twin = create_twin(self._case.model, **self._case.overrides)
        twin.load_state_dict(
            {name: torch.from_numpy(array) for name, array in load_state_dict(self._files.weights).items()}
        )
        twin = twin.to(self._device, memory_format=memory_format)
        inputs = {name: x.to(memory_format=memory_format) if x.ndim == 4 else x for name, x in self._inputs.items()}
        network = torch.compile(twin) if compiled else twin
        prepare = {"forward": self._forward, "train_step": self._train_step, "segment": self._segment}
        self._once = prepare[self._case.kind](twin, network, inputs)

    def _forward(self, twin: TwinUNet | TwinTrunk, network, inputs: dict[str, Tensor]):
        twin.to(self._dtype).eval()

        @torch.inference_mode()
        def forward() -> Tensor:
            return network(inputs["noisy_mask"], inputs["image"], inputs["t"])

        return forward

    def _segment(self, twin: TwinUNet | TwinTrunk, network, inputs: dict[str, Tensor]):
        twin.to(self._dtype).eval()
        return self._process.sampler(network, inputs["image"], inputs["noise"], self._case.steps)

    def _train_step(self, twin: TwinUNet | TwinTrunk, network, inputs: dict[str, Tensor]):
        mixed = self._dtype != torch.float32
        # Copied before the weights of the network are rounded.
        masters = [p.detach().clone().requires_grad_() for p in twin.parameters()] if mixed else None
        weights = list(twin.to(self._dtype).train().parameters())
        masters = masters or weights
        averages = [p.detach().clone() for p in masters]
        setting, process = self._setting, self._process
        adam = torch.optim.Adam(masters, lr=setting.learning_rate, fused=True)
        places = {name: place for place, (name, _) in enumerate(twin.named_parameters()) if name in setting.watched}
        self._training = Training(masters, averages, places)
        steps_done = 0

        def step(t: Tensor | None = None, noise: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
            nonlocal steps_done
            image = inputs["image"].float() / 127.5 - 1.0
            mask = 2.0 * inputs["mask"].float() - 1.0
            if t is None:
                t, noise = process.draw(mask)
            twin.zero_grad()
            loss = process.loss(network, mask, image, t, noise)
            loss.backward()
            if mixed:
                for master in masters:
                    master.grad = torch.empty_like(master) if master.grad is None else master.grad
                torch._foreach_copy_([p.grad for p in masters], [p.grad for p in weights])
            clip = setting.gradient_clip
            norm = torch.nn.utils.clip_grad_norm_(masters, clip, foreach=True) if clip else None
            adam.step()
            with torch.no_grad():
                if mixed:
                    torch._foreach_copy_(weights, masters)
                torch._foreach_lerp_(averages, masters, 1.0 - setting.ema_decay_at(steps_done))
            steps_done += 1
            return loss.detach(), norm

        return step

    def _training_result(self, loss: Tensor, norm: Tensor | None) -> dict[str, np.ndarray]:
        """The arrays that are compared; `norm` is of the gradients before clipping, None without."""
        masters, averages, places = self._training
        before = load_state_dict(self._files.weights)
        if norm is None:
            norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in masters]))
        result = {"loss": loss.cpu().numpy(), "gradient_norm": norm.cpu().numpy()}
        for kind, tensors in (("update", masters), ("ema_update", averages)):
            for name, place in places.items():
                result[f"{kind} {name}"] = tensors[place].detach().cpu().numpy() - before[name]
        return result


class Training(NamedTuple):
    """The changed state of a training: float32 weights and their averages, and the places of those that are watched."""

    weights: list[Tensor]
    averages: list[Tensor]
    places: dict[str, int]


def _tensor(array: np.ndarray) -> Tensor:
    """Channels last -> PyTorch's order of axes; a mask [B, H, W] gets its channel."""
    if array.ndim == 3:
        array = array[..., None]
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)) if array.ndim == 4 else array)
