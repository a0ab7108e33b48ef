"""A callback that looks at Adam's state once an epoch and warns of what commonly goes wrong."""

import warnings
from typing import Any

import keras
import numpy as np

from adamkit import findings, rounding
from adamkit.findings import Finding, Look
from adamkit.keras.adam import Adam
from adamkit.keras.arithmetic import python_number
from adamkit.keras.internals import flat_layers, moments_of, trained_by, without_scaler


class Watch(keras.callbacks.Callback):
    """Looks at the state of Adam around the second step of an epoch, and warns of what commonly goes wrong.

    Updates that round away, an ε that dominates √v̂, a v that underflowed, steps of a wrong size, parameters without a
    gradient, dead ReLUs; and at the end a β₂ too long for the run and losses that rise, stand still or still fall.

    Args:
        every: Look in each epoch whose number is a multiple of this, and in the first. Defaults to 1.
        warn: Whether to warn, with a RuntimeWarning, when something is first seen and at the end. Defaults to True.

    Attributes:
        found: After `fit`, the findings: `kind`, `where`, `figure`, `says`, `remedy`.

    Raises:
        TypeError: In `fit`, where the optimizer is no Adam.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit.keras import Adam, Watch
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(Adam(learning_rate=1e-9), "mse")
        >>> watch = Watch(warn=False)
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> _ = model.fit(x, x.sum(axis=1), epochs=1, verbose=0, callbacks=[watch])
        >>> "small-steps" in [finding.kind for finding in watch.found]
        True
    """

    def __init__(self, every: int = 1, *, warn: bool = True):
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be a whole number >= 1. Received: every={every!r}")
        self.every, self.warn = every, warn
        self.found: list[Finding] = []

    def on_train_begin(self, logs=None):
        """Checks the optimizer."""
        if not isinstance(without_scaler(self._model_now.optimizer), keras.optimizers.Adam):
            kind = type(without_scaler(self._model_now.optimizer)).__name__
            raise TypeError(f"Watch looks at Adam's state. Received: an optimizer of class {kind}")
        self._collected, self._losses, self._before, self._due = findings.Collected(), [], None, False

    def on_epoch_begin(self, epoch, logs=None):
        """Decides whether to look."""
        self._due = epoch % self.every == 0

    def on_train_batch_begin(self, batch, logs=None):
        """Copies the state before a step."""
        if self._due and (batch == 1 or (batch == 0 and (self.params or {}).get("steps") == 1)):
            self._before = _state(self._model_now)

    def on_train_batch_end(self, batch, logs=None):
        """Looks at what the step did."""
        if self._before is None:
            return
        new = self._collected.add(looks(self._model_now, self._before, _state(self._model_now)))
        self._before = None
        if self.warn:
            for finding in new:
                warnings.warn(str(finding), RuntimeWarning, stacklevel=2)

    def on_epoch_end(self, epoch, logs=None):
        """Keeps the loss."""
        self._losses.append(float((logs or {}).get("loss", np.nan)))

    def on_train_end(self, logs=None):
        """Sums up."""
        optimizer = without_scaler(self._model_now.optimizer)
        of_run = findings.of_run(self._losses, python_number(optimizer.iterations), float(optimizer.beta_2))
        self.found = [*self._collected.findings(), *of_run]
        if self.warn:
            for finding in of_run:
                warnings.warn(str(finding), RuntimeWarning, stacklevel=2)

    @property
    def _model_now(self) -> Any:
        """The model, with the state of this moment, which Keras brings it on JAX when it is asked for."""
        return self.model


def _state(model: keras.Model) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """θ, m and v of each variable that Adam steps, in float64."""
    optimizer = without_scaler(model.optimizer)
    state = []
    for index, variable in enumerate(trained_by(optimizer)):
        if isinstance(optimizer, Adam):
            first, second, *_ = (slot.read("float32") for slot in optimizer._slots(variable))
        else:
            first, second, *_ = (kept[index].value for kept in moments_of(optimizer))
        theta, first, second = (_float64(part) for part in (variable.value, first, second))
        state.append((theta, first, np.broadcast_to(second, theta.shape)))  # of a block for each of its elements
    return state


def looks(model: keras.Model, before: list, after: list) -> list[Look]:
    """What a step did to each variable, from the state around it."""
    optimizer: Any = without_scaler(model.optimizer)
    ours = isinstance(optimizer, Adam)
    behind_relu = {
        id(layer.kernel)
        for layer in flat_layers(model)
        if getattr(layer, "activation", None) is keras.activations.relu and getattr(layer, "kernel", None) is not None
    }
    found = []
    for variable, (theta, first_before, _), (now, first, second) in zip(
        trained_by(optimizer), before, after, strict=True
    ):
        narrow = keras.backend.standardize_dtype(variable.dtype) in rounding.NARROW
        found.append(
            Look(
                variable.path, theta, now, first_before, first, second,
                step=python_number(optimizer.iterations),
                beta_1=float(optimizer.beta_1), beta_2=float(optimizer.beta_2),
                epsilon=float(optimizer.epsilon), epsilon_hat=optimizer.epsilon_hat if ours else True,
                loses=narrow and (not ours or optimizer.parameter_rounding == "nearest"),
                units=-1 if id(variable) in behind_relu else None,
            )
        )  # fmt: skip
    return found


def _float64(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")), np.float64)
