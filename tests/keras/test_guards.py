"""A step whose gradients are not all finite is what the caller asked for: NaN, nothing at all, or an error."""

import keras
import numpy as np
import pytest

from adamkit import lab
from adamkit.keras import Adam

pytestmark = pytest.mark.slow  # seconds, all in all

to_numpy = keras.ops.convert_to_numpy
X = np.random.default_rng(0).random((40, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
BAD = X.copy()
BAD[25] = np.nan  # in the third batch of ten
FIT = {"batch_size": 10, "shuffle": False}


def variables():
    return [
        keras.Variable(np.ones(size), dtype=dtype, name=dtype) for size, dtype in ((5, "bfloat16"), (5000, "float32"))
    ]


def gradients(value):
    return [keras.ops.full((5,), 0.5), keras.ops.cast(keras.ops.array([0.25] * 4999 + [value]), "float32")]


def bits(parts):
    return [np.asarray(to_numpy(part.value)).tobytes() for part in parts]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("adam", [{}, {"moment_dtype": "int8", "amsgrad": True}], ids=str)
def test_a_skipped_step_leaves_every_bit_and_is_counted(value, adam):
    model, optimizer = variables(), Adam(on_nonfinite="skip", **adam)
    optimizer.apply(gradients(1.0), model)
    others = [variable for variable in optimizer.variables if variable is not optimizer._guard]
    before = bits([*model, *others])
    optimizer.apply(gradients(value), model)
    assert bits([*model, *others]) == before
    assert (optimizer.skipped_steps, int(optimizer.iterations)) == (1, 1)
    expected, plain = variables(), Adam(**adam)
    for _ in range(2):
        plain.apply(gradients(1.0), expected)
    optimizer.apply(gradients(1.0), model)
    assert bits(model) == bits(expected)


def test_an_error_names_the_variable_and_the_step_and_nothing_has_changed():
    model, optimizer = variables(), Adam(on_nonfinite="raise")
    optimizer.apply(gradients(1.0), model)
    before = bits([*model, *optimizer.variables])
    with pytest.raises(FloatingPointError, match="the gradient of float32 is not finite in step 2"):
        optimizer.apply(gradients(np.inf), model)
    assert bits([*model, *optimizer.variables]) == before


def network(on_nonfinite):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="hidden"), keras.layers.Dense(1)])
    model.compile(Adam(0.01, on_nonfinite=on_nonfinite), "mse")
    return model


@pytest.mark.optimized
@pytest.mark.parametrize("train", ["fit", "lab"])
def test_in_compiled_programs_too(train):
    def run(model, x, y):
        if train == "lab":
            lab.train(model, x, y, epochs=2, **FIT)
        else:
            model.fit(x, y, epochs=2, verbose=0, **FIT)
        return bits(model.weights)

    model, without = network("skip"), network("propagate")
    good = np.r_[0:20, 30:40]
    assert run(model, BAD, Y) == run(without, BAD[good], Y[good])
    assert (model.optimizer.skipped_steps, int(model.optimizer.iterations)) == (2, 6)
    model, stopped = network("raise"), network("propagate")
    with pytest.raises(FloatingPointError, match="hidden/kernel is not finite in step 3"):
        run(model, BAD, Y)
    (stopped.fit if train == "fit" else lambda x, y, **_: lab.train(stopped, x, y, epochs=1, **FIT))(
        X[:20], Y[:20], verbose=0, **FIT
    )
    assert bits(model.weights) == bits(stopped.weights)
    model.optimizer.raise_nonfinite()  # told once


def test_it_is_kept_in_the_configuration_and_checked():
    assert Adam.from_config(Adam(on_nonfinite="skip").get_config()).on_nonfinite == "skip"
    with pytest.raises(ValueError, match=r"on_nonfinite must be one of 'propagate', 'skip', 'raise'. Received"):
        Adam(on_nonfinite="ignore")
    with pytest.raises(TypeError, match="on_nonfinite must be one of"):
        Adam(on_nonfinite=True)
