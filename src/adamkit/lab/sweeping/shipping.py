"""A compiled model as bytes, of which another process, also on another machine, makes the same model.

Classes and functions of the user's own go along: those of installed packages by name, all others, such as those of a
script or of a file that `--model` names, as code.
"""

import contextlib
import io
import pickle
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from ray import cloudpickle

from adamkit.keras.internals import compile_arguments, decays, flat_layers, learning_rate_of, without_scaler
from adamkit.lab.errors import InputError, reason
from adamkit.lab.sweeping.remaking import Recipe

# What else of JAX's and Keras's settings numbers depend on.
_OF_JAX = (
    *("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable"),
    *("jax_numpy_dtype_promotion", "jax_disable_most_optimizations"),
)


@dataclass(frozen=True)
class _Optimizer:
    """All that an optimizer is, but for its state."""

    kind: type
    config: dict[str, Any]
    inner: "_Optimizer | None"  # of Keras's loss scaler

    @classmethod
    def of(cls, optimizer: Any) -> "_Optimizer":
        config = optimizer.get_config()
        if hasattr(optimizer, "inner_optimizer"):
            return cls(type(optimizer), config, cls.of(optimizer.inner_optimizer))
        if not isinstance(rate := learning_rate_of(optimizer), keras.Variable):
            config["learning_rate"] = rate
        return cls(type(optimizer), config, None)

    def made(self) -> Any:
        if self.inner is not None:
            return self.kind(**self.config | {"inner_optimizer": self.inner.made()})
        return self.kind.from_config(self.config)


def packed(model: keras.Model) -> bytes:
    """A compiled and built model.

    Raises:
        InputError: It has no configuration, or something in it cannot be sent.
    """
    arguments = compile_arguments(model)
    optimizer = model.optimizer
    classes = {type(part) for part in (model, optimizer, without_scaler(optimizer), *flat_layers(model))}
    custom = {keras.saving.get_registered_name(kind): kind for kind in classes if not _is_installed(kind)}
    custom = {kind.__name__: kind for kind in custom.values()} | custom | keras.saving.get_custom_objects()
    parts = [*custom.values(), *keras.tree.flatten([arguments.get(name) for name in ("loss", "metrics")])]
    try:
        content = {
            "recipe": Recipe.of(model),
            "arguments": {name: value for name, value in arguments.items() if name != "optimizer"},
            "optimizer": _Optimizer.of(optimizer),
            "decays": decays(without_scaler(optimizer), model.trainable_variables),
            "state": [np.array(variable.value) for variable in optimizer.variables],
        }
        with _as_code(parts):
            return pickle.dumps([_dumped(custom), numerics(), _dumped(content)])
    except Exception as error:  # whatever the user's class raises
        raise InputError(
            "a model that is trained elsewhere must be one that can be made again from its configuration: "
            f"{type(model).__name__} must have get_config and from_config as Keras's guide to serialization shows. "
            f"Received: {reason(error)}"
        ) from error


def unpacked(model: bytes) -> keras.Model:
    """The model, compiled and built, in a process that has no other use for Keras.

    Raises:
        InputError: It cannot be made again here.
    """
    try:
        custom, settings, content = pickle.loads(model)
        keras.saving.get_custom_objects().update(pickle.loads(custom))
        set_numerics(settings)
        content = pickle.loads(content)
        made = content["recipe"].model()
        optimizer = content["optimizer"].made()
        excluded = [v for v, decay in zip(made.trainable_variables, content["decays"], strict=True) if not decay]
        if excluded:
            without_scaler(optimizer).exclude_from_weight_decay(var_list=excluded)
        made.compile(**content["arguments"], optimizer=optimizer)
        made.optimizer.build(made.trainable_variables)
        for variable, value in zip(made.optimizer.variables, content["state"], strict=True):
            variable.assign(value)
    except Exception as error:  # whatever the user's class raises
        raise InputError(
            f"the model must be one that another process makes again from its configuration. Received: {reason(error)}"
        ) from error
    return made


def numerics() -> dict[str, Any]:
    """The settings of JAX and Keras that numbers depend on, beside the model's own."""
    of_jax = {name: jax.config.values[name] for name in _OF_JAX if name in jax.config.values}
    own = {name: getattr(keras.config, name)() for name in ("floatx", "epsilon", "image_data_format")}
    return {"jax": of_jax, "keras": own}


def set_numerics(settings: dict[str, Any]) -> None:
    """Set these settings; programs that were compiled for others are forgotten."""
    if settings == numerics():
        return
    for name, value in settings["jax"].items():
        jax.config.update(name, value)
    for name, value in settings["keras"].items():
        getattr(keras.config, f"set_{name}")(value)
    jax.clear_caches()


class _Pickler(cloudpickle.CloudPickler):  # pyright: ignore[reportPrivateImportUsage]
    """Keras pickles losses and metrics as files that only models can be read from."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (keras.Loss, keras.Metric)):
            return _from_config, (type(obj), obj.get_config())
        if isinstance(obj, keras.optimizers.schedules.LearningRateSchedule):
            return _from_config, (type(obj), obj.get_config())
        return super().reducer_override(obj)


def _dumped(value: Any) -> bytes:
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


def _from_config(kind: Any, config: dict[str, Any]) -> Any:
    return kind.from_config(config)


@contextlib.contextmanager
def _as_code(parts: list[Any]) -> Iterator[None]:
    """Within the block, what the modules of these classes, functions and objects define is pickled as code."""
    kinds = [part if callable(part) and hasattr(part, "__name__") else type(part) for part in parts]
    names = {kind.__module__ for kind in kinds if not _is_installed(kind)}
    modules = [sys.modules[name] for name in names if name in sys.modules and name != "__main__"]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _is_installed(kind: Any) -> bool:
    """Whether a class or function is one of Python, of adamkit or of an installed package."""
    name = getattr(kind, "__module__", None) or "builtins"
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if name.partition(".")[0] == "adamkit" or (file is None and name != "__main__"):
        return True
    folders = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return file is not None and name != "__main__" and not folders.isdisjoint(Path(file).parents)
