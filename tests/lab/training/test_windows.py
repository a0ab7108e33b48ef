"""Convolution and pooling by matrix products are Keras's own: value, gradients and errors."""

import jax
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.backend.jax import nn as keras_nn

from adamkit.lab.training import windows
from adamkit.lab.training.windows import convolution

pytestmark = pytest.mark.slow  # most of them compile

FORMATS = ("channels_last", "channels_first")
few = settings(max_examples=10, deadline=None)  # each compiles two programs


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
def depthwise_convolutions(draw):
    axes = draw(st.integers(1, 2))  # what Keras has
    data_format = draw(st.sampled_from(FORMATS))
    sizes = draw(st.tuples(*[st.integers(1, 3)] * axes))
    strides, dilation = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2)]))
    lengths = [(size - 1) * dilation + 1 + draw(st.integers(0, 4)) for size in sizes]
    channels = draw(st.integers(1, 3))
    inputs = small_integers(draw, placed(2, lengths, channels, data_format))
    kernel = small_integers(draw, (*sizes, channels, draw(st.integers(1, 2))))
    padding = draw(st.sampled_from(["valid", "same"]))
    options = {"strides": strides, "padding": padding, "data_format": data_format, "dilation_rate": dilation}
    return inputs, kernel, options


@st.composite
def transposed_convolutions(draw):
    axes = draw(st.integers(1, 3))
    data_format = draw(st.sampled_from(FORMATS))
    sizes = draw(st.tuples(*[st.integers(1, 3)] * axes))
    lengths = draw(st.tuples(*[st.integers(1, 4)] * axes))
    channels, filters = draw(st.sampled_from([1, 2, 16])), draw(st.integers(1, 2))
    inputs = small_integers(draw, placed(2, lengths, channels, data_format))
    kernel = small_integers(draw, (*sizes, filters, channels))
    strides = draw(one_or_each(st.integers(1, 3), axes))
    padded = draw(st.none() | st.integers(0, 1)) if min(np.broadcast_to(strides, axes)) > 1 else None
    options = {
        "strides": strides,
        "padding": draw(st.sampled_from(["valid", "same"])),
        "output_padding": padded,
        "data_format": data_format,
        "dilation_rate": draw(one_or_each(st.integers(1, 2), axes)),
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


@few
@given(depthwise_convolutions())
def test_depthwise_convolution_is_that_of_keras(case):
    inputs, kernel, options = case
    ours, theirs = (
        value_and_gradients(lambda *arrays: conv(*arrays, **options), inputs, kernel)  # noqa: B023  called at once
        for conv in (windows.depthwise_conv, keras.ops.depthwise_conv)
    )
    assert_equal_trees(ours, theirs)


@few
@given(transposed_convolutions())
def test_transposed_convolution_is_that_of_keras(case):
    inputs, kernel, options = case
    ours, theirs = (
        value_and_gradients(lambda *arrays: conv(*arrays, **options), inputs, kernel)  # noqa: B023  called at once
        for conv in (windows.conv_transpose, keras.ops.conv_transpose)
    )
    assert_equal_trees(ours, theirs)


@few
@given(convolutions())
def test_a_large_kernel_is_convolved_as_a_small_one(case):
    inputs, kernel, options = case
    at_once, one_by_one = [], []
    for results, positions in ((at_once, 0), (one_by_one, 1000)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(convolution, "_MANY_POSITIONS", positions)
            results.append(value_and_gradients(lambda *arrays: windows.conv(*arrays, **options), inputs, kernel))
    assert_equal_trees(at_once, one_by_one)


@few
@given(poolings())
def test_average_pooling_is_that_of_keras(case):
    inputs, options = case
    ours = value_and_gradients(lambda array: windows.average_pool(array, **options), inputs)
    options["strides"] = options["strides"] or options["pool_size"]  # Keras's own default fails for one number
    theirs = value_and_gradients(lambda array: keras.ops.average_pool(array, **options), inputs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), ours, theirs)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bfloat16"])
@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
def test_pooling_has_the_dtype_and_values_of_keras(name, dtype, padding):
    inputs = jax.numpy.arange(25).reshape(1, 5, 5, 1).astype(dtype)
    ours = getattr(windows, name)(inputs, 2, 2, padding)
    theirs = getattr(keras.ops, name)(inputs, 2, 2, padding)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def test_gradients_of_gradients_and_many_members_are_those_of_keras():
    inputs = np.random.default_rng(0).normal(size=(3, 2, 6, 6, 2)).astype("float32")
    kernel = np.random.default_rng(1).normal(size=(3, 3, 3, 2, 2)).astype("float32")

    def penalty(functions):
        def value(inputs, kernel):
            hidden = functions.depthwise_conv(functions.conv(inputs, kernel, padding="same"), kernel[..., :1])
            return jax.numpy.sum(jax.numpy.sin(functions.conv_transpose(hidden, kernel, 2)))

        def squared(inputs, kernel):
            return jax.numpy.sum(jax.grad(value)(inputs, kernel) ** 2)

        return jax.jit(jax.vmap(jax.grad(squared, 1)))(inputs, kernel)

    np.testing.assert_allclose(penalty(windows), penalty(keras.ops), rtol=1e-3, atol=1e-2)


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

    def now():
        return {name: getattr(keras_nn, name) for name in windows.FUNCTIONS}

    own = now()
    with windows.as_matrix_products():
        assert now() == windows.FUNCTIONS
    assert now() == own
    with pytest.raises(RuntimeError, match="in a layer"), windows.as_matrix_products():
        raise RuntimeError("in a layer")
    assert now() == own


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="an accelerator keeps Keras's own")
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Conv2D(3, 2, strides=2, padding="same"), (2, 6, 6, 2)),
        (keras.layers.Conv1D(3, 2, dilation_rate=2), (2, 6, 2)),
        (keras.layers.MaxPooling2D(2), (2, 6, 6, 2)),
        (keras.layers.AveragePooling1D(3, 2, padding="same"), (2, 6, 2)),
        (keras.layers.DepthwiseConv1D(2, depth_multiplier=2), (2, 6, 2)),
        (keras.layers.SeparableConv2D(3, 2, padding="same"), (2, 6, 6, 2)),
        (keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same"), (2, 3, 3, 2)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_layers_use_them(layer, shape, monkeypatch):
    calls = []
    for name, function in windows.FUNCTIONS.items():
        monkeypatch.setitem(
            windows.FUNCTIONS, name, lambda *a, function=function, **k: calls.append(1) or function(*a, **k)
        )
    inputs = np.random.default_rng(0).random(shape).astype("float32")
    theirs = layer(inputs)
    with windows.as_matrix_products():
        ours = layer(inputs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert calls
