"""Each reach into what Keras, or TensorFlow below it, does not make public, for the optimizer and the lab.

A subclass must also call and override methods of Keras's optimizers that are not public (`_backend_update_step` and the
like): these stand in `adam.py`. `tests/keras/test_internals.py` names what a new release lacks.
"""

import collections
import contextlib
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import keras


def without_scaler(optimizer: Any) -> Any:
    """The optimizer itself, where Keras has put a loss scaler around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def build_for(model: keras.Model, batch: Any) -> None:
    """Make all variables of a compiled model, its metrics and optimizer, for batches (x, y, sample weights) as this."""
    model._symbolic_build(data_batch=batch)


def learning_rate_of(optimizer: Any) -> Any:
    """The learning rate as the optimizer holds it: a `keras.Variable`, a schedule or a callable."""
    return without_scaler(optimizer)._learning_rate


def step_count_of(optimizer: Any) -> keras.Variable:
    """The variable that counts the steps."""
    return without_scaler(optimizer)._iterations


def guard_of(optimizer: Any) -> int | None:
    """The place among the optimizer's variables of what `on_nonfinite="raise"` notes; None where it notes nothing."""
    inner = without_scaler(optimizer)
    if getattr(inner, "on_nonfinite", None) != "raise":
        return None
    return [id(variable) for variable in optimizer.variables].index(id(inner._guard))


def averages_of(optimizer: Any) -> list[Any]:
    """With `use_ema`, the variables that hold the moving average of each trainable variable."""
    return without_scaler(optimizer)._model_variables_moving_average


def layout_of_blocks(variable: Any, size: int) -> Any:
    """Where on a mesh of devices a number for each `size` elements of a variable belongs, beside these elements.

    A `keras.distribution.TensorLayout` for an array with the variable's axes, the last one `size` times shorter; None
    where the variable is whole on each device, or `size` does not divide its last axis.
    """
    layout = getattr(variable, "_layout", None)
    if not isinstance(layout, keras.distribution.TensorLayout) or not any(layout.axes) or variable.shape[-1] % size:
        return None
    mesh: Any = layout.device_mesh
    axes = list(layout.axes)
    if axes[-1] is not None and variable.shape[-1] // size % mesh.shape[mesh.axis_names.index(axes[-1])]:
        axes[-1] = None  # an axis is cut into equal parts, or not at all
    return keras.distribution.TensorLayout(axes, mesh)


def layout_without(layout: Any, axes: Sequence[int]) -> Any:
    """Where an array belongs that has a variable's axes, but 1 for some of them: beside the variable of this layout."""
    if not isinstance(layout, keras.distribution.TensorLayout):
        return layout
    kept = [None if axis in axes else name for axis, name in enumerate(layout.axes)]
    return keras.distribution.TensorLayout(kept, layout.device_mesh)


def layout_of_rows(variable: Any) -> Any:
    """Where on a mesh of devices a number for each row of a variable belongs; None where the variable has no layout."""
    layout = getattr(variable, "_layout", None)
    if not isinstance(layout, keras.distribution.TensorLayout):
        return None
    return keras.distribution.TensorLayout(layout.axes[:1], layout.device_mesh)


def trained_by(optimizer: Any) -> list[keras.Variable]:
    """The model's variables that a built optimizer trains, in its order."""
    return optimizer._trainable_variables


def moments_of(optimizer: Any) -> list[list[Any]]:
    """Of Keras's Adam or Nadam or ours, once built: both moments and, with AMSGrad, the largest second ones.

    A variable for each that is trained, or None where the optimizer does not train it by steps.
    """
    largest = [optimizer._velocity_hats] if getattr(optimizer, "amsgrad", False) else []
    return [optimizer._momentums, optimizer._velocities, *largest]


def copy_exclusions(source: Any, target: Any, copies: Mapping[int, Any] | None = None) -> None:
    """Exclude from weight decay what `source.exclude_from_weight_decay` has; it sets these attributes when called.

    Where `target` is for a copy of the model, `copies` has its variables by the ids of the model's own.
    """
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))
    if copies is not None and hasattr(source, "_exclude_from_weight_decay"):
        excluded = source._exclude_from_weight_decay
        target._exclude_from_weight_decay = {id(copy) for own, copy in copies.items() if own in excluded}


def decays(optimizer: Any, variables: Iterable[keras.Variable]) -> list[bool]:
    """Which of these `exclude_from_weight_decay` leaves to decay."""
    return [optimizer._use_weight_decay(variable) for variable in variables]


def index_of(optimizer: Any, variable: Any) -> int:
    """The place of a variable among those that a built optimizer trains."""
    return optimizer._get_variable_index(variable)


def is_overwritten(optimizer: Any, variable: Any) -> bool:
    """Whether a step gives a variable its gradient as the new value, such as the scales of float8 layers."""
    return optimizer._overwrite_variable_with_gradient(variable)


def accumulators_of(optimizer: Any) -> list[Any]:
    """With `gradient_accumulation_steps`, the variables that hold the sum of each variable's gradients."""
    return optimizer._accumulated_gradients


def own_value(variable: keras.Variable) -> Any:
    """The tensor that the variable itself holds; `value` is the caller's inside a `StatelessScope`."""
    return variable._value


def is_compiled_by_xla() -> bool:
    """On TensorFlow: whether what is traced now is part of a program that XLA compiles."""
    import tensorflow as tf
    from tensorflow.python.ops import control_flow_util  # pyright: ignore[reportMissingImports]

    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def compiled_parts(model: keras.Model) -> tuple[Any, Any]:
    """What `compile` made of the loss and of the metrics."""
    return model._compile_loss, model._compile_metrics  # pyright: ignore[reportAttributeAccessIssue]


def compile_arguments(model: keras.Model) -> dict[str, Any]:
    """What `compile` was given, as it was given."""
    return dict(model._compile_config.config)  # pyright: ignore[reportAttributeAccessIssue]


def flat_layers(model: keras.Model) -> list[keras.Layer]:
    """All layers, those inside of layers too."""
    return list(model._flatten_layers())


def own_variables_of(layer: keras.Layer) -> list[keras.Variable]:
    """The trainable variables of a layer itself, without those of layers inside of it."""
    return layer._trainable_variables


def batches_of(x: Any, batch_size: int) -> Generator[Any, None, None]:
    """The x of each batch of data as `fit` takes it, as NumPy arrays; to be closed."""
    from keras.src.trainers.data_adapters import get_data_adapter

    adapter = get_data_adapter(x=x, batch_size=batch_size)
    try:
        for batch in adapter.get_numpy_iterator():
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]
    finally:
        workers = getattr(adapter, "enqueuer", None)  # of a PyDataset that has some, if the caller had enough
        if workers is not None and workers.is_running():
            workers.stop()


def has_layers(part: Any) -> bool:
    """Whether a layer holds layers."""
    return bool(getattr(part, "_layers", None))


def jax_nn() -> ModuleType:
    """The module whose functions Keras's layers convolve and pool with on JAX."""
    from keras.src.backend.jax import nn

    return nn


def transposed_padding(
    inputs: tuple, kernel: tuple, strides: Any, padding: str, output_padding: Any, dilation_rate: Any
) -> list[tuple[int, int]]:
    """JAX's padding of a transposed convolution on each axis; the shapes are (rows, …, channels) and (…, , )."""
    from keras.src.backend.common import backend_utils

    return backend_utils.compute_conv_transpose_padding_args_for_jax(
        inputs, kernel, strides, padding, output_padding, dilation_rate
    )


@contextlib.contextmanager
def names_from_the_start() -> Iterator[None]:
    """What is made in here is named as in a new process: `dense`, whatever was made before."""
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """To save or copy a model, and for a seed, Keras imports TensorFlow on any backend, if there: seconds, and log."""
    from keras.src.utils import module_utils

    lazy: Any = getattr(module_utils, "tensorflow", None)
    if "tensorflow" in sys.modules or not hasattr(lazy, "_available"):  # another release of Keras
        yield
        return
    before, lazy._available = lazy._available, False
    try:
        yield
    finally:
        lazy._available = before
