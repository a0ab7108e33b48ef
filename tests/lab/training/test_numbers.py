"""The numbers of any of Keras's optimizers differ from member to member, and each member steps as if alone."""

import jax
import keras
import numpy as np
import pytest

from adamkit.lab.errors import InputError
from adamkit.lab.training.numbers import Number
from adamkit.lab.training.population import _given

STEPS = 4
START = np.array([1.0, -2.0, 0.5], np.float32)
SCALES = np.array([1.0, 0.1, 3.0], np.float32)

CASES = {
    "SGD": [{"momentum": 0.5}, {"momentum": 0.99}],
    "SGD, no momentum": [{"momentum": 0.0}, {"momentum": 0.0}],
    "SGD, decay": [{"weight_decay": 0.1}, {"weight_decay": 0.01}],
    "RMSprop": [{"rho": 0.5, "epsilon": 1e-3, "momentum": 0.9}, {"rho": 0.999, "epsilon": 1e-7, "momentum": 0.5}],
    "Adagrad": [{"epsilon": 1e-7}, {"epsilon": 1e-1}],
    "Adadelta": [{"rho": 0.9, "epsilon": 1e-7}, {"rho": 0.99, "epsilon": 1e-2}],
    "Adam": [{"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3}, {"beta_1": 0.9, "beta_2": 0.9999, "epsilon": 1e-8}],
    "AdamW": [{"beta_1": 0.5, "weight_decay": 0.5}, {"beta_1": 0.9, "weight_decay": 0.1}],
    "Nadam": [{"beta_1": 0.5, "beta_2": 0.9}, {"beta_1": 0.9, "beta_2": 0.9999}],
    "Adamax": [{"beta_1": 0.5, "beta_2": 0.9}, {"beta_1": 0.9, "beta_2": 0.9999}],
    "Lion": [{"beta_1": 0.5, "beta_2": 0.9}, {"beta_1": 0.9, "beta_2": 0.99}],
    "Lamb": [{"beta_1": 0.5, "beta_2": 0.9}, {"beta_1": 0.9, "beta_2": 0.9999}],
    "ScheduleFreeAdamW": [{"beta_1": 0.5}, {"beta_1": 0.9}],
}


def made(case, setting):
    optimizer = getattr(keras.optimizers, case.split(",")[0])(learning_rate=0.1, **setting)
    variable = keras.Variable(START)
    optimizer.build([variable])
    return optimizer, variable


def alone(case, setting):
    """Keras's own steps, one after another."""
    optimizer, variable = made(case, setting)
    for _ in range(STEPS):
        optimizer.apply([variable.value * SCALES])
    return np.asarray(variable)


@pytest.mark.parametrize("case", CASES)
def test_members_step_as_if_alone(case):
    settings = CASES[case]
    optimizer, _ = made(case, settings[0])
    numbers = {name: Number.of(name, [setting[name] for setting in settings]) for name in settings[0]}
    state = [v.value for v in optimizer.variables]

    def run(numbers):
        value, own = [START], state
        with _given(optimizer, numbers):
            for _ in range(STEPS):
                value, own = optimizer.stateless_apply(own, [value[0] * SCALES], value)
        assert all(number.used for number in numbers.values())
        return value[0]

    together = jax.jit(jax.vmap(run))(numbers)
    for member, setting in zip(together, settings, strict=True):
        np.testing.assert_allclose(member, alone(case, setting), rtol=1e-4, atol=1e-6)
    assert getattr(optimizer, next(iter(numbers))) == settings[0][next(iter(numbers))]  # and is left as it was


def test_one_less_a_number_is_rounded_once():
    number = Number.of("rho", [0.999, 0.9999])
    np.testing.assert_array_equal(1 - number, np.float32([1 - 0.999, 1 - 0.9999]))
    np.testing.assert_array_equal(number - 1, np.float32([0.999 - 1, 0.9999 - 1]))


def test_comparisons_with_zero_are_answered_for_all_members():
    some, none = Number.of("momentum", [0.5, 0.9]), Number.of("momentum", [0.0, 0.0])
    for number, expected in ((some, True), (none, False)):
        assert not number.used
        assert (number != 0, number > 0, not number == 0, not number <= 0, bool(number)) == (expected,) * 5  # noqa: SIM201
        assert number >= 0
        assert not number < 0
        assert number.used


def test_arithmetic_is_that_of_arrays():
    number, x = Number.of("rho", [0.5, 0.25]), np.float32([2.0, 4.0])
    for operation in (
        lambda a: a + x, lambda a: x + a, lambda a: a * x, lambda a: x * a, lambda a: a - x, lambda a: x - a,
        lambda a: a / x, lambda a: x / a, lambda a: a**2, lambda a: -a, lambda a: a > 0.3, lambda a: a < 0.3,
        lambda a: a == 0.5, lambda a: a != 0.5, lambda a: a >= 0.25, lambda a: a <= 0.25, lambda a: 2 - a,
    ):  # fmt: skip
        np.testing.assert_array_equal(operation(number), operation(np.float32([0.5, 0.25])))


def test_zero_and_not_zero_are_not_mapped_together():
    with pytest.raises(InputError, match="momentum must be 0 for all members of a population or for none"):
        Number.of("momentum", [0.0, 0.9])
