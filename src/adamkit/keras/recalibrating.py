"""The statistics of batch normalization, computed anew at the weights that evaluation uses."""

import contextlib
import math
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from adamkit.keras.arithmetic import python_number
from adamkit.keras.averages import averaged
from adamkit.keras.internals import batches_of, flat_layers, step_count_of


def recalibrate(model: keras.Model, x: Any, *, batch_size: int = 32, steps: int | None = None) -> None:
    """Compute the moving mean and variance of each `BatchNormalization` layer anew, from data.

    A model that was trained by `schedule_free` has those of the weights that gradients were taken at, while another
    set is used (Defazio et al. 2024, arXiv:2405.15682); averaged weights are another case. The model goes through the
    data once: each of these layers normalizes a batch by the batch's own mean and variance, as in training, and all
    other layers do as in inference. Then it has the mean and the variance of all that it was given, exactly but for
    rounding: the mean is over all rows, not of batches that count alike, and the variance has what batches differ by.
    Nothing else of the model and its optimizer changes. Layers that are frozen (`trainable=False`) normalize by the
    statistics that they have, and keep them; so should those be that a model calls with `training=False`, which are not
    told from others.

    Args:
        model: A built `keras.Model`. Of a schedule-free one x is used, as by `evaluate`, and what the variables are now
            is there afterwards. Without such layers, nothing happens.
        x: As `fit` takes it: an array or a list or dict of arrays, or batches: a `tf.data.Dataset`, a PyTorch
            `DataLoader`, a `keras.utils.PyDataset` or a generator, of x, (x, y) or (x, y, sample weights).
        batch_size: Rows at a time, where `x` is arrays. As in training, for layers after the first see batches that
            were normalized by themselves. Defaults to 32.
        steps: The number of batches to go through; None for all. Defaults to None.

    Raises:
        TypeError: `model` is no `keras.Model`, or `batch_size` or `steps` no whole number.
        ValueError: `batch_size` or `steps` is less than 1, the model is not built, `x` has no batch or is of a kind
            that Keras does not know, or a layer has `renorm=True`. Keras's own, of batches of another shape.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit.keras import recalibrate
        >>> layer = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), layer])
        >>> recalibrate(model, np.array([[1.0], [3.0]]))
        >>> [float(statistic.numpy()[0]) for statistic in (layer.moving_mean, layer.moving_variance)]
        [2.0, 1.0]
    """
    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: {model!r} of type {type(model).__name__}")
    _check_counts(batch_size, steps)
    if x is None or (isinstance(x, (list, tuple, dict)) and not x):
        raise ValueError(f"x must be data as fit takes it: arrays or batches. Received: x={x!r}")
    if not model.built:
        raise ValueError(
            f"model must be built, so that it has variables: give it an Input, or call build. Received: {model.name}"
        )
    every = {id(layer): layer for layer in flat_layers(model)}.values()
    layers = [layer for layer in every if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
    for layer in layers:
        if getattr(layer, "renorm", False):
            raise ValueError(f"recalibrate is for batch normalization, not for renorm=True. Received: {layer.name}")
    if not layers:
        return
    found = {id(layer): _Moments() for layer in layers}
    before = [[ops.copy(ops.convert_to_tensor(one)) for one in _statistics(layer)] for layer in layers]
    with contextlib.ExitStack() as stack:
        stack.enter_context(averaged(model))
        stack.enter_context(_no_gradients())
        stack.callback(_assign, layers, before)  # what stands if the data ends in an error
        for layer in layers:
            stack.enter_context(_by_batch(layer, found[id(layer)]))
        went, batches = 0, stack.enter_context(contextlib.closing(batches_of(x, batch_size)))
        for batch in batches:
            model(batch, training=False)
            went += 1
            if went == steps:
                break
    if not went:
        raise ValueError(f"x must have at least one batch. Received: {type(x).__name__} without any")
    for layer in layers:
        moments = found[id(layer)]
        if moments.count:  # else the model has it and does not use it
            _assign([layer], [[moments.mean, moments.squares / moments.count]])


class Recalibrate(keras.callbacks.Callback):
    """In `fit`, `recalibrate` before each validation, where steps were made since, and at the end.

    It takes a forward pass over the data, without a compiled program, each time; `steps` bounds it. Name it last,
    behind callbacks that change weights there, such as `SwapEMAWeights` and `EarlyStopping(restore_best_weights=True)`.
    A `fit` that ends in an error or by Ctrl-C has no end: call `recalibrate` then.

    Args:
        x: As `recalibrate` takes it, but for a generator, which ends: usually what `fit` is given.
        batch_size: As in `recalibrate`. Defaults to 32.
        steps: As in `recalibrate`. Defaults to None.

    Raises:
        TypeError, ValueError: As `recalibrate`; of `x`, in `fit`.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit.keras import Adam, Recalibrate
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> layers = [keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
        >>> model = keras.Sequential(layers)
        >>> model.compile(Adam(0.01, schedule_free=True), "mse")
        >>> _ = model.fit(x, x.sum(axis=1), verbose=0, callbacks=[Recalibrate(x)])
        >>> bool(np.allclose(keras.ops.convert_to_numpy(model.layers[0].moving_mean), x.mean(axis=0), rtol=1e-4))
        True
    """

    def __init__(self, x: Any, *, batch_size: int = 32, steps: int | None = None):
        super().__init__()
        _check_counts(batch_size, steps)
        self.x, self.batch_size, self.steps = x, batch_size, steps
        self._done_at: int | None = None

    def on_train_begin(self, logs=None):
        """Forgets the run before."""
        self._done_at = None

    def on_test_begin(self, logs=None):
        """Before a validation."""
        self._recalibrate()

    def on_train_end(self, logs=None):
        """At the end."""
        self._recalibrate()

    def _recalibrate(self) -> None:
        model: Any = self.model
        step = python_number(step_count_of(model.optimizer))
        if step != self._done_at:
            recalibrate(model, self.x, batch_size=self.batch_size, steps=self.steps)
            self._done_at = step


class _Moments:
    """The mean and variance of what comes in batches, in float64 (Chan, Golub and LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0.0
        self.mean: Any = 0.0
        self.squares: Any = 0.0  # the sum of squared differences from the mean

    def add(self, count: float, mean: np.ndarray, variance: np.ndarray) -> None:
        """Take a batch in: how many numbers a channel it has, and their mean and variance, (channels,)."""
        if not count:
            return
        total = self.count + count
        difference = mean - self.mean
        self.mean = self.mean + difference * (count / total)
        self.squares = self.squares + variance * count + difference**2 * (self.count * count / total)
        self.count = total


@contextlib.contextmanager
def _by_batch(layer: Any, moments: _Moments) -> Iterator[None]:
    """The layer normalizes by the batch, whose mean and variance are taken down."""
    call: Callable = layer.call

    def recorded(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        _assign([layer], [[ops.zeros(statistic.shape) for statistic in _statistics(layer)]])  # momentum 0, but no 0·NaN
        outputs = call(inputs, training=True, mask=mask)
        used: Any = math.prod(inputs.shape) / inputs.shape[layer.axis]
        if mask is not None:
            used = ops.sum(ops.cast(mask, "float32"))
        moments.add(float(used), *(_float64(statistic) for statistic in _statistics(layer)))
        return outputs

    momentum, layer.momentum = layer.momentum, 0.0  # so that the statistics are those of the batch
    vars(layer)["call"] = recorded
    try:
        yield
    finally:
        del vars(layer)["call"]
        layer.momentum = momentum


def _statistics(layer: Any) -> list:
    return [layer.moving_mean, layer.moving_variance]


def _assign(layers: list, values: list) -> None:
    for layer, of_layer in zip(layers, values, strict=True):
        for statistic, value in zip(_statistics(layer), of_layer, strict=True):
            statistic.assign(ops.cast(value, statistic.dtype))


def _no_gradients() -> contextlib.AbstractContextManager:
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.no_grad()


def _float64(value: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(value)).astype(np.float64)


def _check_counts(batch_size: Any, steps: Any) -> None:
    for name, value in {"batch_size": batch_size, **({} if steps is None else {"steps": steps})}.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError(
                f"{name} must be a whole number >= 1. Received: {name}={value!r} of type {type(value).__name__}"
            )
        if value < 1:
            raise ValueError(f"{name} must be a whole number >= 1. Received: {name}={value!r}")
