"""A step by one pass over memory: which parameters a kernel takes, and what it needs to know of them."""

import functools
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from adamkit import rounding
from adamkit.kernels import cpu
from adamkit.kernels.form import Form
from adamkit.torch.coefficients import coefficients
from adamkit.torch.state import Slot, state_names


class Job(NamedTuple):
    """What the parameters that a kernel steps at once have in common."""

    kernel: str  # "cpu" or "gpu"
    form: Form
    device: torch.device
    done: float | None  # steps so far; None: the GPU counts them, each parameter's for itself


class Passes:
    """The passes over memory of one step of one group."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], list[tuple[int, ...]]] = defaultdict(list)  # by the parts of a `Job`
        self._counters: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)

    def add(self, kernel: str, form: Form, device: torch.device, step: Tensor, row: tuple[int, ...]) -> None:
        """Have a parameter stepped: its size, the addresses of the form's columns, its place in the optimizer."""
        done = step.item() if step.is_cpu else None
        job = (kernel, form, device, done)
        self._rows[job].append(row)
        if done is None:
            self._counters[job].append(step)

    def run(self, group: dict[str, Any], first_index: int, memory: "Memory") -> None:
        """Step all that were added, for the group whose first parameter has that place in the optimizer."""
        for parts, rows in self._rows.items():
            job = Job(*parts)
            if job.kernel == "cpu":
                _step_on_cpu(job, rows, group)
            else:
                _step_on_gpu(job, rows, self._counters[parts], group, first_index, memory.tables())


def kernel_for(slot: Slot, step: Tensor) -> str | None:
    """Which kernel takes a parameter with this step counter: "cpu", "gpu" or none."""
    device = slot.tensors[0].device
    if device.type == "cpu":
        return "cpu" if step.is_cpu and cpu.applies(slot.form, slot.tensors) else None
    if device.type != "cuda" or not (step.is_cpu or step.device == device):
        return None
    gpu = gpu_kernel()
    return "gpu" if gpu is not None and gpu.applies(slot.form, slot.tensors) else None


@functools.cache
def gpu_kernel() -> Any:
    """The module with the kernel for GPUs, or None without Triton or with one that is too old."""
    try:
        from adamkit.kernels import gpu
    except ImportError:
        return None
    return gpu


class Verified(NamedTuple):
    """A parameter that a kernel takes, and what that depends on."""

    options: tuple[Any, ...]
    kernel: str
    form: Form
    device: torch.device
    dtype: torch.dtype
    size: int
    parameter: int  # its address
    names: tuple[str, ...]  # of what is in its state
    state: list[int]  # their addresses

    @classmethod
    def of(cls, kernel: str, slot: Slot, addresses: list[int], options: tuple[Any, ...]) -> "Verified":
        """The parameter of a slot whose tensors lie at these addresses."""
        parameter = slot.tensors[0]
        names, device = state_names(slot.form), parameter.device
        return cls(
            options, kernel, slot.form, device, parameter.dtype, parameter.numel(), addresses[0], names, addresses[2:]
        )

    def row(self, parameter: Tensor, gradient: Tensor, state: dict[str, Any]) -> list[int] | None:
        """Its size and the addresses of all tensors of its step; None if anything but the gradient's has changed."""
        if len(state) <= len(self.names):
            return None
        held = [state[name].data_ptr() for name in self.names]
        if (
            held == self.state
            and parameter.data_ptr() == self.parameter
            and parameter.dtype is self.dtype
            and parameter.numel() == self.size
            and parameter.is_contiguous()
            and type(gradient) is Tensor
            and gradient.dtype is self.dtype
            and gradient.device == self.device
            and gradient.layout is torch.strided
            and gradient.numel() == self.size
            and gradient.is_contiguous()
            and not gradient.is_neg()
        ):
            return [self.size, self.parameter, gradient.data_ptr(), *held]
        return None


class Memory:
    """What an optimizer remembers from step to step, to be quick."""

    def __init__(self) -> None:
        self.verified: dict[int, Verified] = {}  # those that a kernel stepped the last time, by `id`
        self._tables: Any = None

    def tables(self) -> Any:
        """A `kernels.gpu.Tables`."""
        if self._tables is None:
            self._tables = gpu_kernel().Tables()
        return self._tables


def _step_on_cpu(job: Job, rows: list[tuple[int, ...]], group: dict[str, Any]) -> None:
    sizes, *columns, indices = zip(*rows, strict=True)
    done = job.done or 0.0
    number = int(done) + 1
    if job.form.is_random():
        key = rounding.random_key(group["rounding_seed"], number, np.array(indices, np.int32), np)
        columns.append(key.tolist())
    k = coefficients(group, done + 1)
    threads = torch.get_num_threads()
    cpu.step_at(job.form, sizes, columns, k, threads, number=number, maximize=group["maximize"])


def _step_on_gpu(
    job: Job,
    rows: list[tuple[int, ...]],
    counters: list[Tensor],
    group: dict[str, Any],
    first_index: int,
    tables: Any,
) -> None:
    sizes, *columns, indices = zip(*rows, strict=True)
    if job.form.is_random():
        columns.append(indices)
    table = tables.table((first_index, job.form, job.device), job.form, sizes, columns, job.device)
    if job.done is None:  # nothing here waits for the device
        number = torch.stack(counters).double() + 1
        k = coefficients(group, number, torch)
    else:
        number = int(job.done) + 1
        k = coefficients(group, job.done + 1)
    gpu_kernel().step_at(job.form, table, k, number=number, maximize=group["maximize"], seed=group["rounding_seed"])
