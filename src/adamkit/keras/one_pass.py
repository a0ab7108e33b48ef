"""A step of many variables at once.

On PyTorch one pass over memory by the CPU kernel, where it is eager; on JAX one program, where it is no part of one; on
TensorFlow one program for the large variables.
"""

import functools
import math
import platform
import weakref
from typing import Any

import keras
import numpy as np
from keras import ops

from adamkit import moments, rounding, rule
from adamkit.keras.arithmetic import dtype_of, python_number
from adamkit.keras.coefficients import Numbers, averaging, coefficients, numbers, variant_of
from adamkit.keras.internals import decays, index_of, own_value, step_count_of
from adamkit.keras.sparse import Rows, is_sparse

_PROGRAMS: Any = weakref.WeakKeyDictionary()  # of optimizers: their compiled steps, on JAX and TensorFlow
_LARGE = 2**15  # elements; from there what a step on TensorFlow saves pays for compiling it within some hundred steps


def step_in_one_pass(optimizer: Any, gradients: Any, variables: Any, learning_rate: Any) -> bool:
    """The step of all variables by the CPU kernel; False, with nothing done, where it does not apply."""
    import torch

    kernel = cpu_kernel()
    if kernel is None or torch.compiler.is_compiling() or not optimizer.adaptivity:
        return False
    if optimizer.blockwise:  # the kernel's blocks are rows, and Keras's are columns
        return False
    groups: dict[Any, list] = {}  # the columns' entries of each variable, by form, setting and whether it decays
    for gradient, variable, does_decay in zip(gradients, variables, decays(optimizer, variables), strict=True):
        index = index_of(optimizer, variable)
        form, tensors = _form_and_tensors(optimizer, kernel, gradient, variable)
        # In a `StatelessScope` the values are the caller's, which must stay as they are.
        if tensors[0] is not own_value(variable) or not kernel.applies(form, tensors):
            return False
        groups.setdefault((form, optimizer._own.places[index], does_decay), []).append((*tensors, index))
    step, rate = _step_and_rate(optimizer, learning_rate)
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
    if tensors[0] is not own_value(variable) or not kernel.applies_to_rows(form, tensors):
        return False
    step, rate = _step_and_rate(optimizer, learning_rate)
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


def step_large_as_one_program(optimizer: Any, gradients: Any, variables: Any, k: Numbers) -> tuple[list, list]:
    """On TensorFlow, the step of the large variables by XLA; what is left, gradients and variables.

    Operation by operation, TensorFlow would go through memory 20 times. In a program that XLA compiles as a whole this
    one is a part of it.
    """
    import tensorflow as tf

    device = step_count_of(optimizer).value.device
    pairs = list(zip(gradients, variables, strict=True))
    is_large = [_is_for_xla(optimizer, *pair, device) for pair in pairs]
    large = [pair for pair, takes_part in zip(pairs, is_large, strict=True) if takes_part]
    if not large:
        return gradients, variables
    programs = _PROGRAMS.setdefault(optimizer, {})
    key = tuple(id(variable) for _, variable in large)
    if key not in programs:
        alive, stepped = weakref.ref(optimizer), [variable for _, variable in large]

        def step(gradients, k):
            adam: Any = alive()
            for gradient, variable in zip(gradients, stepped, strict=True):
                adam.update_step(gradient, variable, k)

        programs[key] = tf.function(step, jit_compile=True, autograph=False)
    with tf.device(device):
        programs[key]([gradient for gradient, _ in large], k)  # compiled anew for other Python numbers in k
    left = [pair for pair, takes_part in zip(pairs, is_large, strict=True) if not takes_part]
    return [gradient for gradient, _ in left], [variable for _, variable in left]


def _is_for_xla(optimizer: Any, gradient: Any, variable: Any, device: str) -> bool:
    """Whether a variable is large, is on this device with all that a step of it needs, and XLA compiles for that."""
    import tensorflow as tf

    if math.prod(variable.shape) < _LARGE or is_sparse(gradient) or not tf.test.is_built_with_xla():
        return False
    if platform.system() == "Darwin" and "CPU" not in device:
        return False
    held = [part.value for part in (variable, *optimizer._state([variable]))]
    return all(not isinstance(one, tf.distribute.DistributedValues) and one.device == device for one in held)


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


def _step_and_rate(optimizer: Any, learning_rate: Any) -> tuple[int, float]:
    """The number t of the step in progress and its learning rate, as Python's."""
    return python_number(optimizer.iterations) + 1, python_number(learning_rate)


def _numbers(optimizer: Any, step: int, rate: float, place: int, does_decay: bool) -> rule.Coefficients:
    """The numbers of this step, as Python's, of variables with the setting at a place."""
    setting = optimizer._own.settings[place]
    own = python_number(setting.rate(rate, step_count_of(optimizer)))
    k = numbers(optimizer, step, own, setting, averaging(optimizer, rate, math), math)
    return k if does_decay else k._replace(shrinkage=0.0)
