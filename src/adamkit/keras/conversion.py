"""A run of Keras's own optimizers that goes on in ours, and back."""

from typing import Any

import keras

from adamkit.keras.coefficients import betas, variant_of
from adamkit.keras.internals import copy_exclusions, is_overwritten, learning_rate_of, trained_by
from adamkit.keras.state import copy_state, fade, slots
from adamkit.variants import ADAM, SWITCHES

PARTS = ("bias_correction", "adaptivity")  # of the rule, that can be left out
OWN_ARGUMENTS = (
    "epsilon_hat", "moment_dtype", "parameter_rounding", "rounding_seed", "on_nonfinite", *PARTS, *SWITCHES,
    "momentum_decay", "groups", "lazy",
)  # fmt: skip


def from_keras(
    kind: Any, optimizer: keras.optimizers.Optimizer, moment_dtype: str, parameter_rounding: str, rounding_seed: int
) -> Any:
    """An optimizer of our class `kind` that goes on from Keras's."""
    ahead = isinstance(optimizer, keras.optimizers.Nadam)
    if not (ahead or isinstance(optimizer, keras.optimizers.Adam)) or isinstance(optimizer, kind):
        raise TypeError(
            f"optimizer must be a keras.optimizers.Adam, AdamW or Nadam. Received: {type(optimizer).__module__}."
            f"{type(optimizer).__name__}"
        )
    made = kind(
        **_arguments(optimizer),
        epsilon_hat=not ahead,
        nesterov=ahead,
        momentum_decay=1.0 if ahead else None,
        moment_dtype=moment_dtype,
        parameter_rounding=parameter_rounding,
        rounding_seed=rounding_seed,
    )
    return _continued(optimizer, made)


def to_keras(optimizer: Any) -> keras.optimizers.Adam:
    """Keras's Adam that goes on from ours."""
    if optimizer.groups is not None:
        raise ValueError("groups must be None for a keras.optimizers.Adam, which has none. Received: some")
    if optimizer.finds_rate:
        raise ValueError("learning_rate must be a number for a keras.optimizers.Adam. Received: 'auto'")
    if (variant := variant_of(optimizer)) != ADAM:
        raise ValueError(f"only Adam itself can become a keras.optimizers.Adam. Received: {variant.name()}")
    for name in PARTS:
        if not getattr(optimizer, name):
            raise ValueError(f"{name} must be True for a keras.optimizers.Adam, which has it. Received: False")
    config = {name: value for name, value in _arguments(optimizer).items() if name not in OWN_ARGUMENTS}
    made = _continued(optimizer, keras.optimizers.Adam(**config))
    kept = slots(made) if optimizer.built else []
    trained = (variable for variable in trained_by(optimizer) if not is_overwritten(optimizer, variable))
    for place, variable in enumerate(trained):  # whose m and v come before all of AMSGrad's
        if (missed := optimizer.missed_steps(variable)) is not None:
            pair = kept[2 * place : 2 * place + 2]
            fade(pair, missed, betas(optimizer), optimizer.iterations, keras.Variable.assign)
    return made


def _arguments(optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    """`get_config`, with the learning-rate schedule or callable itself."""
    config = optimizer.get_config()
    if not isinstance(rate := learning_rate_of(optimizer), keras.Variable):
        config["learning_rate"] = rate
    return config


def _continued(source: keras.optimizers.Optimizer, target: Any) -> Any:
    """The optimizer `target`, with the state of `source`."""
    copy_exclusions(source, target)
    if source.built:
        target.build(trained_by(source))
    copy_state(source, target)
    return target
