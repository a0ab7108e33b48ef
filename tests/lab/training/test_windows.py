"""Convolution and pooling by matrix products are Keras's own: value, gradients and errors."""

import jax
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.backend.jax import nn as keras_nn

from adamkit.lab.training import windows

pytestmark = pytest.mark.slow  # most of them compile

FORMATS = ("channels_last", "channels_first")
few = settings(max_examples=15, deadline=None)  # each compiles two programs


def small_integers(draw, shape, largest=3):
    """Float32 whose sums of products are exact, in any order; of equal values there are many."""
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(-largest, largest + 1, shape).astype("float32")


def one_or_each(values, axes):
    return values | st.tuples(*[values] * axes)


def placed(rows, lengths, channels, data_format):
    return (rows, *lengths, channels) if data_format == "channels_last" else (rows, channels, *lengths)


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    data_format = draw(st.sampled_from(FORMATS))
    sizes = draw(st.tuples(*[st.integers(1, 3)] * axes))
    dilation = draw(one_or_each(st.integers(1, 2), axes))
    spans = [(size - 1) * rate + 1 for size, rate in zip(sizes, np.broadcast_to(dilation, axes), strict=True)]
    lengths = [draw(st.integers(span, span + 4)) for span in spans]
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.sampled_from([1, 2, 16]))
    inputs = small_integers(draw, placed(2, lengths, channels, data_format))
    kernel = small_integers(draw, (*sizes, channels // groups, groups * draw(st.integers(1, 2))))
    options = {
        "strides": draw(one_or_each(st.integers(1, 3), axes)),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "data_format": data_format,
        "dilation_rate": dilation,
    }
    return inputs, kernel, options


@st.composite
def poolings(draw):
    axes = draw(st.integers(1, 3))
    data_format = draw(st.sampled_from(FORMATS))
    sizes = draw(one_or_each(st.integers(1, 3), axes))
    lengths = [size + draw(st.integers(0, 4)) for size in np.broadcast_to(sizes, axes).tolist()]
    inputs = small_integers(draw, placed(2, lengths, 2, data_format), largest=1)
    options = {
        "pool_size": sizes,
        "strides": draw(st.none() | one_or_each(st.integers(1, 3), axes)),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "data_format": data_format,
    }
    return inputs, options


def value_and_gradients(function, *arrays):
    @jax.jit
    def both(*arrays):
        value, back = jax.vjp(function, *arrays)
        weights = 1 + jax.numpy.arange(value.size, dtype="float32").reshape(value.shape) % 7
        return value, back(weights)  # every output's gradient with a weight of its own

    return both(*arrays)


def assert_equal_trees(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@few
@given(convolutions())
def test_convolution_is_that_of_keras(case):
    inputs, kernel, options = case
    ours, theirs = (
        value_and_gradients(lambda *arrays: conv(*arrays, **options), inputs, kernel)  # noqa: B023  called at once
        for conv in (windows.conv, keras.ops.conv)
    )
    assert_equal_trees(ours, theirs)


@few
@given(poolings())
def test_max_pooling_is_that_of_keras_and_its_gradient_goes_to_the_first_of_equal_values(case):
    inputs, options = case
    ours = value_and_gradients(lambda array: windows.max_pool(array, **options), inputs)
    options["strides"] = options["strides"] or options["pool_size"]  # Keras's own default fails for one number
    theirs = value_and_gradients(lambda array: keras.ops.max_pool(array, **options), inputs)
    assert_equal_trees(ours, theirs)


def test_not_a_number_reaches_all_windows_that_it_is_in():
    inputs = np.zeros((1, 6, 1), "float32")
    inputs[0, 2] = np.nan
    pooled = windows.max_pool(inputs, 2, 1)
    convolved = windows.conv(inputs, np.ones((2, 1, 1), "float32"))
    for output in (pooled, convolved):
        np.testing.assert_array_equal(np.isnan(output[0, :, 0]), [False, True, True, False, False])


def test_a_kernel_that_does_not_fit_is_an_error_as_in_keras():
    with pytest.raises(ValueError, match="empty output: the input is smaller than the kernel"):
        windows.conv(np.zeros((1, 2, 1), "float32"), np.ones((3, 1, 1), "float32"))
    with pytest.raises(ValueError, match=r"multiple of the kernel's\. Received: 3 and 2"):
        windows.conv(np.zeros((1, 5, 3), "float32"), np.ones((3, 2, 1), "float32"))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator keeps Keras's own")
def test_keras_has_its_own_functions_again_afterwards():
    own = keras_nn.conv, keras_nn.max_pool
    with windows.as_matrix_products():
        assert (keras_nn.conv, keras_nn.max_pool) == (windows.conv, windows.max_pool)
    assert (keras_nn.conv, keras_nn.max_pool) == own
    with pytest.raises(RuntimeError, match="in a layer"), windows.as_matrix_products():
        raise RuntimeError("in a layer")
    assert (keras_nn.conv, keras_nn.max_pool) == own


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator keeps Keras's own")
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Conv2D(3, 2, strides=2, padding="same"), (2, 6, 6, 2)),
        (keras.layers.Conv1D(3, 2, dilation_rate=2), (2, 6, 2)),
        (keras.layers.MaxPooling2D(2), (2, 6, 6, 2)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_layers_use_them(layer, shape, monkeypatch):
    calls = []
    for name in ("conv", "max_pool"):
        function = getattr(windows, name)
        monkeypatch.setattr(windows, name, lambda *a, function=function, **k: calls.append(1) or function(*a, **k))
    inputs = np.random.default_rng(0).random(shape).astype("float32")
    theirs = layer(inputs)
    with windows.as_matrix_products():
        ours = layer(inputs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert calls
