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
from adamkit.kernels.layout import width_of_blocks
from adamkit.torch.coefficients import coefficients
from adamkit.torch.state import LAST_STEP, Slot, state_names


class Job(NamedTuple):
    """What the parameters that a kernel steps at once have in common."""

    kernel: str  # "cpu" or "gpu"
    form: Form
    device: torch.device
    done: float | None  # steps so far; None: the GPU counts them, each parameter's for itself


class Part(NamedTuple):
    """Some rows of a parameter, to be stepped by the CPU's kernel."""

    rows: Tensor
    tensors: tuple[Tensor, ...]  # in the order of the form's columns: of the gradient (n, …), of all others whole
    last_step: Tensor | None  # with `lazy="exact"`


class Passes:
    """The passes over memory of one step of one group."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], list[tuple[int, ...]]] = defaultdict(list)  # by the parts of a `Job`
        self._counters: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        self._parts: list[tuple[Form, float, Part]] = []

    def add(
        self, kernel: str, form: Form, device: torch.device, step: Tensor, given: list[int] | Part, index: int
    ) -> None:
        """Have a parameter stepped.

        Args:
            kernel: "cpu" or "gpu".
            form: How the parameter is stored.
            device: Where.
            step: Its counter of steps.
            given: Its size and the addresses of the form's columns, or some rows of it.
            index: Its place in the optimizer.
        """
        done = step.item() if step.is_cpu else None
        if isinstance(given, Part):
            self._parts.append((form, done or 0.0, given))
            return
        job = (kernel, form, device, done)
        self._rows[job].append((*given, index))
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
        for form, done, part in self._parts:
            _step_part(form, done, part, group)


def kernel_for(slot: Slot, step: Tensor) -> str | None:
    """Which kernel takes a parameter with this step counter: "cpu", "gpu" or none."""
    device = slot.tensors[0].device
    if device.type == "cpu":
        part = part_of(slot)
        applies = cpu.applies(slot.form, slot.tensors) if part is None else cpu.applies_to_rows(slot.form, part.tensors)
        return "cpu" if step.is_cpu and applies else None
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
    shape: torch.Size
    parameter: int  # its address
    names: tuple[str, ...]  # of what is in its state
    state: list[int]  # their addresses
    width: tuple[int, ...]  # see `_width`

    @classmethod
    def of(cls, kernel: str, slot: Slot, options: tuple[Any, ...]) -> "Verified":
        """The parameter of a slot."""
        parameter, _, *state = slot.tensors
        names, device = state_names(slot.form), parameter.device
        if slot.last_step is not None:
            names, state = (*names, LAST_STEP), [*state, slot.last_step]
        addresses = [tensor.data_ptr() for tensor in (parameter, *state)]
        dtype, shape = parameter.dtype, parameter.shape
        return cls(options, kernel, slot.form, device, dtype, shape, addresses[0], names, addresses[1:], _width(slot))

    def given(
        self, parameter: Tensor, gradient: Tensor, state: dict[str, Any], lazy: bool | str
    ) -> list[int] | Part | None:
        """What `Passes.add` is given; None if anything but where the gradient lies has changed."""
        if len(state) <= len(self.names):
            return None
        held = [state[name].data_ptr() for name in self.names]
        if not (
            held == self.state
            and parameter.data_ptr() == self.parameter
            and parameter.dtype is self.dtype
            and parameter.shape == self.shape
            and parameter.is_contiguous()
        ):
            return None
        has_last_step = self.names[-1] == LAST_STEP
        if gradient.layout is torch.sparse_coo:
            if has_last_step != (lazy == "exact") or self.kernel != "cpu" or not state["step"].is_cpu:
                return None
            kept = [state[name] for name in self.names]
            last_step = kept.pop() if has_last_step else None
            part = part_of(Slot(self.form, (parameter, gradient, *kept), 0, last_step))
            return part if part is not None and cpu.rows_fit(self.form, *part.tensors[:2]) else None
        if (
            not has_last_step
            and type(gradient) is Tensor
            and gradient.dtype is self.dtype
            and gradient.device == self.device
            and gradient.layout is torch.strided
            and gradient.shape == self.shape
            and gradient.is_contiguous()
            and not gradient.is_neg()
        ):
            return [parameter.numel(), self.parameter, gradient.data_ptr(), *held, *self.width]
        return None


def given_by(slot: Slot) -> list[int] | Part:
    """What `Passes.add` is given of a parameter that a kernel takes."""
    addresses = (tensor.data_ptr() for tensor in slot.tensors)
    return part_of(slot) or [slot.tensors[0].numel(), *addresses, *_width(slot)]


def _width(slot: Slot) -> tuple[int, ...]:
    """The number of the column "width", where the form has it."""
    return (max(width_of_blocks(slot.tensors[0]), 1),) if slot.form.variant.blockwise else ()


def part_of(slot: Slot) -> Part | None:
    """The rows that a sparse gradient has, if it has rows."""
    parameter, gradient, *state = slot.tensors
    if gradient.layout is not torch.sparse_coo or gradient.sparse_dim() != 1:
        return None
    gradient = gradient.coalesce()
    return Part(gradient.indices()[0], (parameter, gradient.values(), *state), slot.last_step)


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


def _step_part(form: Form, done: float, part: Part, group: dict[str, Any]) -> None:
    options = {"number": int(done) + 1, "maximize": group["maximize"], "last_step": part.last_step}
    threads = torch.get_num_threads()
    cpu.step_rows(form, part.rows, part.tensors, coefficients(group, done + 1), threads, **options)


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
