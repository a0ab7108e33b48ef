"""A model made again, with its state or with a start that its initializers draw, and an optimizer with other numbers.

A configuration does not hold all that a model or an optimizer is. What it leaves out is copied here: what layers have
adapted to, which of them are frozen, which variables do not decay, and a learning rate that is a function.
"""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from adamkit.keras.internals import (
    copy_exclusions,
    flat_layers,
    learning_rate_of,
    step_count_of,
    without_tensorflow,
)
from adamkit.lab.errors import InputError, listed, reason

_MAKING = threading.Lock()  # a model is made again with Python's and NumPy's random states, which all threads share


@dataclass(frozen=True)
class Recipe:
    """All that a built model is, without the model: another is made of it, in this process or elsewhere.

    Attributes:
        kind: The model's class.
        config: What `get_config` gives.
        build_config: What `get_build_config` gives.
        is_trainable: Of each layer, those inside of layers too.
        kept: Of each layer that keeps more than its variables, what it saves; None for the others.
        weights: The values of `trainable_variables` and of `non_trainable_variables`.
    """

    kind: type[keras.Model]
    config: dict[str, Any]
    build_config: Any
    is_trainable: list[bool]
    kept: list[dict[str, Any] | None]
    weights: tuple[list[np.ndarray], list[np.ndarray]]

    @classmethod
    def of(cls, model: keras.Model) -> "Recipe":
        """Of a model.

        Raises:
            Exception: Whatever the model's class raises where it has no configuration.
        """
        layers = flat_layers(model)
        kept: list[dict[str, Any] | None] = []
        for layer in layers:
            kept.append(None)
            if type(layer).load_own_variables is not keras.Layer.load_own_variables:
                kept[-1] = {}
                layer.save_own_variables(kept[-1])
        # Copies: on JAX `fit` gives away its buffers.
        weights = ([np.array(v.value) for v in group] for group in _groups(model))
        with _MAKING, without_tensorflow():
            config, build_config = model.get_config(), model.get_build_config()
        trainable, non_trainable = weights
        is_trainable = [layer.trainable for layer in layers]
        return cls(type(model), config, build_config, is_trainable, kept, (trainable, non_trainable))

    def model(self) -> keras.Model:
        """The same model again; not compiled."""
        made = self.begun_anew(None)
        layers = flat_layers(made)
        for layer, kept in zip(layers, self.kept, strict=True) if len(layers) == len(self.kept) else ():
            if kept is not None:
                layer.load_own_variables(kept)
        for group, arrays in zip(_groups(made), self.weights, strict=True):
            for variable, array in zip(group, arrays, strict=True):
                variable.assign(array)
        return made

    def begun_anew(self, seed: np.random.SeedSequence | None) -> keras.Model:
        """The model with other initial weights, which its initializers draw; with a seed, from that."""
        with _MAKING:
            states = random.getstate(), np.random.get_state()
            try:
                if seed is not None:
                    words = seed.generate_state(4)
                    random.seed(int.from_bytes(words.tobytes(), "little"))  # Keras draws its seeds from here
                    np.random.seed(words)
                with without_tensorflow():
                    made = self.kind.from_config(self.config)
                    if not made.built:
                        made.build_from_config(self.build_config)
            finally:
                random.setstate(states[0])
                np.random.set_state(states[1])
        layers = flat_layers(made)
        if len(layers) == len(self.is_trainable):  # else the copy has not made all of them yet
            for layer, trainable in zip(layers, self.is_trainable, strict=True):
                if layer.trainable != trainable:  # each before those inside of it, to which it hands this on
                    layer.trainable = trainable
        names = ("trainable_variables", "non_trainable_variables")
        for name, group, arrays in zip(names, _groups(made), self.weights, strict=True):
            shapes, own_shapes = [tuple(v.shape) for v in group], [array.shape for array in arrays]
            if shapes != own_shapes:
                raise ValueError(
                    f"made again it has {name} of the shapes {listed(shapes)}, and has {listed(own_shapes)}"
                )
        return made


def remade(model: keras.Model) -> keras.Model:
    """A copy of a built model, with its weights and whatever else its layers hold; not compiled.

    Raises:
        Exception: Whatever the model's class raises where it cannot be made again from its configuration.
    """
    return Recipe.of(model).model()


def drawn_start(model: keras.Model, kept: Sequence[bool], seed: Sequence[int]) -> tuple[list, list]:
    """Another start of a model: what its initializers draw anew, and what is no draw as it stands.

    Args:
        model: Built.
        kept: Which of `non_trainable_variables` stay as they are.
        seed: Whole numbers >= 0. `keras.utils.set_random_seed` takes one of 32 bits, whichever the user has given it;
            this is hashed to 128 bits, so that it is none of those.

    Returns:
        The values of `trainable_variables` and of `non_trainable_variables`.
    """
    made = Recipe.of(model).begun_anew(np.random.SeedSequence(seed))
    state = zip(kept, model.non_trainable_variables, made.non_trainable_variables, strict=True)
    return (
        [np.array(variable.value) for variable in made.trainable_variables],
        [np.array((own if keep else drawn).value) for keep, own, drawn in state],
    )


def optimizer_with(optimizer: Any, setting: Mapping[str, Any], copies: Mapping[int, Any] | None = None) -> Any:
    """A new optimizer with the hyperparameters of a setting, and all else as in `optimizer`, but for its state.

    Args:
        optimizer: Of any class that can be made from its configuration; one inside a loss scaler too.
        setting: Hyperparameters by name; those that it does not have are left aside.
        copies: Where it is for a copy of the model, the variables of that by the ids of the model's own.

    Raises:
        InputError: It cannot be made from its configuration.
    """
    config = optimizer.get_config()
    if hasattr(optimizer, "inner_optimizer"):  # Keras's loss scaler
        inner = optimizer_with(optimizer.inner_optimizer, setting, copies)
        return type(optimizer)(**config | {"inner_optimizer": inner})
    if not isinstance(rate := learning_rate_of(optimizer), keras.Variable):
        config["learning_rate"] = rate
    kind = type(optimizer)
    try:
        made = kind.from_config(config | {name: value for name, value in setting.items() if name in config})
    except Exception as error:  # whatever the user's class raises
        raise InputError(
            f"the optimizer must be one that from_config makes again from its get_config: {kind.__module__}."
            f"{kind.__qualname__} must have both as Keras's guide to serialization shows. Received: {reason(error)}"
        ) from error
    copy_exclusions(optimizer, made, copies)
    return made


def steps_of(optimizer: Any) -> int:
    """How many steps it has made."""
    return int(np.asarray(step_count_of(optimizer).value))


def go_on_from(source: Any, target: Any) -> None:
    """Give an optimizer the state of another one of its class, as far as both have it; both are built alike.

    One has more variables than the other where a switch is on: what is only in `target` stays as it begins.
    """
    state: dict[tuple, Any] = dict(_numbered(source))
    for place, variable in _numbered(target):
        if place in state and state[place].shape == variable.shape:
            variable.assign(np.array(state[place].value))


def fresh_state(optimizer: Any, variables: Sequence[Any]) -> list[np.ndarray]:
    """The variables of an optimizer as they were before its first step."""
    fresh = optimizer_with(optimizer, {})
    fresh.build(variables)
    return [np.array(variable.value) for variable in fresh.variables]


def _numbered(optimizer: Any) -> Iterator[tuple[tuple[str, int], Any]]:
    """The variables with their paths; those of equal paths are numbered."""
    seen: dict[str, int] = {}
    for variable in optimizer.variables:
        seen[variable.path] = number = seen.get(variable.path, -1) + 1
        yield (variable.path, number), variable


def _groups(model: keras.Model) -> tuple[list[Any], list[Any]]:
    return model.trainable_variables, model.non_trainable_variables
