"""An eager step of all variables at once: on PyTorch one pass over memory by the CPU kernel, on JAX one program."""

import functools
import math
import weakref
from typing import Any

import keras
import numpy as np
from keras import ops

from adamkit import moments, rounding, rule
from adamkit.keras.arithmetic import dtype_of, python_number
from adamkit.keras.coefficients import averaging, coefficients, numbers, variant_of
from adamkit.keras.internals import decays, index_of, own_value, step_count_of
from adamkit.keras.sparse import Rows

_PROGRAMS: Any = weakref.WeakKeyDictionary()  # of optimizers on JAX: their step outside of `jax.jit`


def step_in_one_pass(optimizer: Any, gradients: Any, variables: Any, learning_rate: Any) -> bool:
    """The step of all variables by the CPU kernel; False, with nothing done, where it does not apply."""
    import torch

    kernel = cpu_kernel()
    if kernel is None or torch.compiler.is_compiling() or not optimizer.adaptivity:
        return False
    groups: dict[Any, list] = {}  # the columns' entries of each variable, by form, setting and whether it decays
    for gradient, variable, does_decay in zip(gradients, variables, decays(optimizer, variables), strict=True):
        index = index_of(optimizer, variable)
        form, tensors = _form_and_tensors(optimizer, kernel, gradient, variable)
        # In a `StatelessScope` the values are the caller's, which must stay as they are.
        if tensors[0] is not own_value(variable) or not kernel.applies(form, tensors):
            return False
        groups.setdefault((form, optimizer._own.places[index], does_decay), []).append((*tensors, index))
    step, rate = (python_number(number) for number in (optimizer._step(), learning_rate))
    for (form, place, does_decay), rows in groups.items():
        k = _numbers(optimizer, step, rate, place, does_decay)
        *columns, indices = zip(*rows, strict=True)
        if "key" in form.columns():
            key = rounding.random_key(optimizer.rounding_seed, step, np.array(indices, "int32"), np)
            columns.append(key.tolist())
        kernel.step(form, columns, k, torch.get_num_threads(), number=step)
        torch.autograd.graph.increment_version(columns[0])
    return True


def step_rows_in_one_pass(optimizer: Any, gradient: Rows, variable: Any, learning_rate: Any) -> bool:
    """The step of these rows by the CPU kernel; False, with nothing done, where it does not apply."""
    import torch

    kernel, rows = cpu_kernel(), gradient.indices
    if kernel is None or torch.compiler.is_compiling() or not optimizer.adaptivity:
        return False
    form, tensors = _form_and_tensors(optimizer, kernel, gradient.values, variable)
    index = index_of(optimizer, variable)
    last = optimizer._last_steps[index]
    if tensors[0] is not own_value(variable) or not kernel.applies_to_rows(form, tensors, last is not None):
        return False
    step, rate = (python_number(number) for number in (optimizer._step(), learning_rate))
    k = _numbers(optimizer, step, rate, optimizer._own.places[index], decays(optimizer, [variable])[0])
    last_step = None if last is None else last.value
    kernel.step_rows(form, rows, tensors, k, torch.get_num_threads(), number=step, last_step=last_step)
    torch.autograd.graph.increment_version(tensors[0])
    return True


def step_as_one_program(optimizer: Any, gradients: Any, variables: Any, learning_rate: Any) -> bool:
    """The step of all variables as one compiled program; False, with nothing done, inside another one.

    Operation by operation, JAX would go through memory a dozen times, and get new memory for each result.
    """
    import jax
    from jax.core import Tracer

    averages = [] if optimizer._averages is None else [optimizer._averages]
    state = [*variables, *optimizer._state(variables), *averages, step_count_of(optimizer)]
    values = [variable.value for variable in state]
    traced = any(isinstance(value, (Tracer, Rows)) for value in (*gradients, *values))
    if traced or values[0] is not own_value(variables[0]):  # the latter in a `StatelessScope`: the caller's arrays
        return False
    numbers = ("beta_1", "beta_2", "epsilon", "weight_decay", "epsilon_hat", "momentum_decay")
    switches = (optimizer.bias_correction, optimizer.adaptivity, variant_of(optimizer))
    key = (*(getattr(optimizer, name) for name in numbers), *switches, *map(id, variables))
    programs = _PROGRAMS.setdefault(optimizer, {})
    if key not in programs:
        alive = weakref.ref(optimizer)

        def step(gradients, values, learning_rate):
            adam: Any = alive()
            with keras.StatelessScope(state_mapping=list(zip(state, values, strict=True))) as scope:
                k = coefficients(adam, learning_rate)
                for gradient, variable in zip(gradients, variables, strict=True):
                    adam.update_step(gradient, variable, k)
            return [scope.get_current_value(variable) for variable in state]

        programs.clear()  # those of other hyperparameters
        programs[key] = jax.jit(step)
    gradients = [ops.convert_to_tensor(gradient) for gradient in gradients]
    learning_rate = ops.convert_to_tensor(learning_rate)
    new = programs[key](gradients, values, learning_rate)
    for variable, value in zip(state, new, strict=True):
        variable.assign(value)
    return True


@functools.cache
def cpu_kernel() -> Any:
    """The module with the kernel for PyTorch's tensors, or None where Numba is not installed."""
    try:
        from adamkit.kernels import cpu
    except ImportError:
        return None
    return cpu


def _form_and_tensors(optimizer: Any, kernel: Any, gradient: Any, variable: Any) -> tuple[Any, list]:
    """How a variable is stored, and what the CPU kernel steps it by."""
    slots, remainder = optimizer._slots(variable), optimizer._remainders[index_of(optimizer, variable)]
    dtype, given = dtype_of(variable), dtype_of(gradient)
    form = kernel.Form(
        dtype,
        moments.format_of(math.prod(variable.shape), optimizer.moment_dtype),
        optimizer.parameter_rounding if dtype in rounding.NARROW else "nearest",
        optimizer.amsgrad,
        gradient=None if given == dtype else given,
        variant=variant_of(optimizer),
    )
    state = [slot.values for slot in slots] + [slot.scales for slot in slots] + [remainder]
    return form, [variable.value, gradient, *(part.value for part in state if part is not None)]


def _numbers(optimizer: Any, step: int, rate: float, place: int, does_decay: bool) -> rule.Coefficients:
    """The numbers of this step, as Python's, of variables with the setting at a place."""
    setting = optimizer._own.settings[place]
    own = python_number(setting.rate(rate, step_count_of(optimizer)))
    k = numbers(optimizer, step, own, setting, averaging(optimizer, rate, math), math)
    return k if does_decay else k._replace(shrinkage=0.0)
