"""A model made again, with its state or with a start that its initializers draw, and an optimizer with other numbers.

A configuration does not hold all that a model or an optimizer is. What it leaves out is copied here: what layers have
adapted to, which of them are frozen, which variables do not decay, and a learning rate that is a function.
"""

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
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


def remade(model: keras.Model) -> keras.Model:
    """A copy of a built model, with its weights and whatever else its layers hold; not compiled.

    Raises:
        Exception: Whatever the model's class raises where it cannot be made again from its configuration.
    """
    made = _made_again(model, None)
    for own, copy in _pairs(model, made):
        if type(own).load_own_variables is not keras.Layer.load_own_variables:  # it keeps more than its variables
            store: dict[str, Any] = {}
            own.save_own_variables(store)
            copy.load_own_variables(store)
    for group in ("trainable_variables", "non_trainable_variables"):
        for variable, own in zip(getattr(made, group), getattr(model, group), strict=True):
            variable.assign(np.array(own.value))  # a copy: on JAX `fit` gives away its buffers
    return made


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
    made = _made_again(model, np.random.SeedSequence(seed))
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


def _made_again(model: keras.Model, seed: np.random.SeedSequence | None) -> keras.Model:
    """From its configuration; with a seed, initial weights that this draws."""
    with _MAKING:
        states = random.getstate(), np.random.get_state()
        try:
            if seed is not None:
                words = seed.generate_state(4)
                random.seed(int.from_bytes(words.tobytes(), "little"))  # Keras draws its seeds from here
                np.random.seed(words)
            with without_tensorflow():
                made = type(model).from_config(model.get_config())
                if not made.built:
                    made.build_from_config(model.get_build_config())
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
    for own, copy in _pairs(model, made):  # each before those inside of it, to which it hands this on
        if copy.trainable != own.trainable:
            copy.trainable = own.trainable
    for group in ("trainable_variables", "non_trainable_variables"):
        shapes, own_shapes = ([tuple(v.shape) for v in getattr(one, group)] for one in (made, model))
        if shapes != own_shapes:
            raise ValueError(f"made again it has {group} of the shapes {listed(shapes)}, and has {listed(own_shapes)}")
    return made


def _pairs(model: keras.Model, made: keras.Model) -> list[tuple[keras.Layer, keras.Layer]]:
    """The layers of a model and of its copy; none where the copy has not made all of them yet."""
    layers = flat_layers(model), flat_layers(made)
    return list(zip(*layers, strict=True)) if len(layers[0]) == len(layers[1]) else []
