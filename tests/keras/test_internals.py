"""What is not public in Keras is there and does what we rely on: a new release that changes it is named here.

A test for each reach in `adamkit.keras.internals`, and for each method that `adamkit.keras.Adam` overrides or calls.
"""

import ast
import functools
import inspect
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import adamkit
from adamkit.keras import Adam, internals
from tests.keras.test_exactness import as_numpy

SOURCE = Path(adamkit.__file__).parent
ON_JAX = keras.backend.backend() == "jax"


def lacks(place, name):
    return f"Keras {keras.__version__} has no {place}.{name} any more, which src/adamkit/keras relies on"


def built(kind=Adam, **options):
    """An optimizer and the two variables that it is built on."""
    variables = [keras.Variable(np.ones(3, "float32"), name=name) for name in ("weight", "bias")]
    optimizer = kind(0.1, **options)
    optimizer.build(variables)
    return optimizer, variables


def model():
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.Sequential([keras.layers.Dense(1)])])
    made.compile(optimizer=Adam(), loss="mse", metrics=["mae"], loss_weights=2.0)
    return made


# internals.py, function by function.


def test_a_loss_scaler_holds_the_optimizer():
    inner = Adam()
    assert internals.without_scaler(keras.optimizers.LossScaleOptimizer(inner)) is inner, lacks(
        "LossScaleOptimizer", "inner_optimizer"
    )
    assert internals.without_scaler(inner) is inner


def test_names_begin_anew_and_go_on_afterwards():
    before = keras.layers.Dense(1).name
    with internals.names_from_the_start():
        assert keras.layers.Dense(1).name == "dense", lacks("backend.common.global_state", "object_name_uids")
        assert keras.layers.Dense(1).name == "dense_1"
    assert int(keras.layers.Dense(1).name.rpartition("_")[2]) == int("0" + before.partition("_")[2]) + 1


def test_a_transposed_convolution_is_padded_as_keras_says():
    padding = internals.transposed_padding((1, 2, 1), (3, 1, 1), (2,), "same", None, 1)
    assert [tuple(pair) for pair in padding] == [(2, 1)], lacks(
        "backend_utils", "compute_conv_transpose_padding_args_for_jax"
    )


def test_a_model_is_built_for_a_batch():
    made = keras.Sequential([keras.layers.Dense(2)])
    made.compile(optimizer=Adam(), loss="mse", metrics=["mae"])
    assert hasattr(made, "_symbolic_build"), lacks("Model", "_symbolic_build")
    internals.build_for(made, (np.ones((4, 3), "float32"), np.ones((4, 2), "float32"), None))
    assert len(made.trainable_variables) == 2
    assert made.optimizer.built
    assert {variable.name for variable in made.metrics_variables} >= {"total", "count"}


def test_the_learning_rate_is_what_the_optimizer_was_given():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert hasattr(Adam(), "_learning_rate"), lacks("Optimizer", "_learning_rate")
    assert internals.learning_rate_of(Adam(schedule)) is schedule
    optimizer = Adam(0.25)
    assert internals.learning_rate_of(optimizer) in optimizer.variables
    assert float(as_numpy(internals.learning_rate_of(optimizer))) == 0.25


def test_the_step_count_is_a_variable_that_counts():
    optimizer, variables = built()
    assert hasattr(optimizer, "_iterations"), lacks("Optimizer", "_iterations")
    assert internals.step_count_of(optimizer) is optimizer.iterations
    optimizer.apply([ops.ones(3)] * 2, variables)
    assert int(as_numpy(internals.step_count_of(optimizer))) == 1
    assert any(variable is internals.step_count_of(optimizer) for variable in optimizer.variables)


def test_a_layer_has_variables_of_its_own():
    assert hasattr(keras.layers.Dense(1), "_trainable_variables"), lacks("Layer", "_trainable_variables")
    attention = model().layers[-1]
    assert internals.own_variables_of(attention) == []
    assert [variable.name for variable in internals.own_variables_of(attention.layers[0])] == ["kernel", "bias"]


def test_averages_are_variables_of_the_optimizer():
    optimizer, variables = built(use_ema=True, ema_momentum=0.5)
    name = "_model_variables_moving_average"
    assert hasattr(optimizer, name), lacks("Optimizer", name)
    assert [average.shape for average in internals.averages_of(optimizer)] == [variable.shape for variable in variables]
    optimizer.apply([ops.ones(3)] * 2, variables)
    np.testing.assert_allclose(as_numpy(internals.averages_of(optimizer)[0]), as_numpy(variables[0]))


@pytest.mark.skipif(not ON_JAX, reason="Keras distributes variables on JAX")
def test_a_sharded_variable_has_its_layout():
    mesh = keras.distribution.DeviceMesh((1,), ("model",), keras.distribution.list_devices()[:1])
    layouts = keras.distribution.LayoutMap(mesh)
    layouts["wide.*"] = keras.distribution.TensorLayout((None, "model"), mesh)
    with keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="model").scope():
        wide, odd, whole = (
            keras.Variable(np.ones(shape, "float32"), name=name)
            for name, shape in {"wide": (2, 128), "wide_odd": (2, 100), "whole": (2, 128)}.items()
        )
    assert hasattr(wide, "_layout"), lacks("Variable", "_layout")
    assert tuple(internals.layout_of_blocks(wide, 64).axes) == (None, "model")
    assert internals.layout_of_blocks(odd, 64) is None
    assert internals.layout_of_blocks(whole, 64) is None
    assert tuple(internals.layout_without(wide._layout, (0,)).axes) == (None, "model")
    assert tuple(internals.layout_without(wide._layout, (1,)).axes) == (None, None)
    assert internals.layout_without(None, (0,)) is None
    assert tuple(internals.layout_of_rows(wide).axes) == (None,)
    assert internals.layout_of_rows(keras.Variable(np.ones((2, 2)))) is None


def test_trained_variables_are_those_that_it_was_built_on():
    optimizer, variables = built()
    assert hasattr(optimizer, "_trainable_variables"), lacks("Optimizer", "_trainable_variables")
    assert all(own is other for own, other in zip(internals.trained_by(optimizer), variables, strict=True))


@pytest.mark.parametrize("kind", [Adam, keras.optimizers.Adam], ids=["ours", "Keras's"])
def test_moments_are_in_the_lists_of_keras(kind):
    optimizer, variables = built(kind, amsgrad=True)
    for name in ("_momentums", "_velocities", "_velocity_hats"):
        assert hasattr(optimizer, name), lacks("Adam", name)
    optimizer.apply([ops.ones(3)] * 2, variables)
    first, second, largest = (as_numpy(kept[1]) for kept in internals.moments_of(optimizer))
    np.testing.assert_allclose(first, 0.1, rtol=1e-5)
    np.testing.assert_allclose(second, 0.001, rtol=1e-4)
    np.testing.assert_array_equal(largest, second)


@pytest.mark.parametrize("how", ["var_list", "var_names"])
def test_exclusions_from_weight_decay_are_copied(how):
    source, (weight, bias) = built(weight_decay=0.5)
    source.exclude_from_weight_decay(**{how: [bias] if how == "var_list" else ["bias"]})
    target = Adam(0.1, weight_decay=0.5)
    internals.copy_exclusions(source, target)
    target.apply([ops.zeros(3)] * 2, [weight, bias])
    message = lacks("Optimizer", "_exclude_from_weight_decay or _exclude_from_weight_decay_pattern")
    np.testing.assert_array_equal(as_numpy(bias), 1, err_msg=message)
    np.testing.assert_allclose(as_numpy(weight), 0.95)


def test_gradients_are_summed_in_variables_of_the_optimizer():
    optimizer, variables = built(gradient_accumulation_steps=2)
    assert hasattr(optimizer, "_accumulated_gradients"), lacks("Optimizer", "_accumulated_gradients")
    optimizer.apply([2 * ops.ones(3), 3 * ops.ones(3)], variables)
    for kept, expected in zip(internals.accumulators_of(optimizer), (2, 3), strict=True):
        np.testing.assert_array_equal(as_numpy(kept), np.full(3, expected))


def test_a_variable_has_its_own_value_inside_a_scope_too():
    variable = keras.Variable(np.ones(2, "float32"))
    assert hasattr(variable, "_value"), lacks("Variable", "_value")
    assert internals.own_value(variable) is variable.value
    scope = keras.StatelessScope(state_mapping=[(variable, ops.zeros(2))])
    own = internals.own_value(variable)
    with scope:
        assert variable.value is not own
        assert internals.own_value(variable) is own


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's programs")
@pytest.mark.parametrize("compiled", [False, True])
def test_tensorflow_says_whether_xla_compiles(compiled):
    import tensorflow as tf

    assert not internals.is_compiled_by_xla()
    found = []
    inner = tf.function(lambda: found.append(internals.is_compiled_by_xla()))
    tf.function(lambda: (found.append(internals.is_compiled_by_xla()), inner()), jit_compile=compiled)()
    assert found == [compiled] * 2


def test_a_compiled_model_has_its_loss_metrics_and_arguments():
    made = model()
    for name in ("_compile_loss", "_compile_metrics", "_compile_config"):
        assert hasattr(made, name), lacks("Model", name)
    before = internals.compiled_parts(made)
    assert internals.compiled_parts(made) == before
    made.compile(optimizer=Adam(), loss="mae", metrics=["mse"])
    loss, metrics = internals.compiled_parts(made)
    assert loss is not before[0]
    assert metrics is not before[1]
    arguments = internals.compile_arguments(model())
    assert {name: arguments[name] for name in ("loss", "metrics", "loss_weights")} == {
        "loss": "mse",
        "metrics": ["mae"],
        "loss_weights": 2.0,
    }


def test_layers_are_found_inside_of_layers():
    made = model()
    assert hasattr(made, "_flatten_layers"), lacks("Layer", "_flatten_layers")
    kinds = [type(layer) for layer in internals.flat_layers(made)]
    assert kinds.count(keras.layers.Dense) == 2
    inner = made.layers[-1]
    assert internals.has_layers(inner), lacks("Layer", "_layers")
    assert not internals.has_layers(inner.layers[0])


def test_data_as_fit_takes_it_comes_in_batches_of_x():
    from keras.src.trainers import data_adapters

    assert hasattr(data_adapters, "get_data_adapter"), lacks(data_adapters.__name__, "get_data_adapter")
    assert [len(x) for x in internals.batches_of(np.ones((5, 2)), 2)] == [2, 2, 1]
    assert [len(x) for x in internals.batches_of(((np.ones((n, 2)), np.ones(n)) for n in (3, 1)), 2)] == [3, 1]


@pytest.mark.skipif(not ON_JAX, reason="JAX's functions, on JAX alone")
@pytest.mark.parametrize(("name", "operation"), [("conv", "conv"), ("max_pool", "max_pool")])
def test_keras_convolves_and_pools_with_the_functions_of_one_module(name, operation, monkeypatch):
    module = internals.jax_nn()
    assert hasattr(module, name), lacks(module.__name__, name)
    monkeypatch.setattr(module, name, lambda *_, **__: "replaced")
    arguments = {"conv": (np.ones((1, 4, 1)), np.ones((2, 1, 1))), "max_pool": (np.ones((1, 4, 1)), 2)}[name]
    assert getattr(keras.ops, operation)(*arguments) == "replaced"


def test_keras_does_without_tensorflow_while_it_is_told_to(monkeypatch):
    from keras.src.utils import module_utils

    lazy = module_utils.tensorflow
    assert hasattr(lazy, "_available"), lacks("utils.module_utils.tensorflow", "_available")
    before = lazy._available
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with internals.without_tensorflow():
        assert not lazy.available
    assert lazy._available == before


# adam.py: what it overrides and calls of its base class.


BASE = keras.optimizers.Adam
OVERRIDES = {
    "_apply_weight_decay": {},
    "_backend_apply_gradients": {},
    "_backend_update_step": {},
    "_clip_gradients": {},
    "_overwrite_model_variables_with_average_value": {"use_ema": True},
    "_update_model_variables_moving_average": {"use_ema": True},
}


def own_names(tree, *, of_self):
    """Names of attributes that begin with an underscore: of `self`, or of anything else that is no class or module."""
    owners = {
        (node.attr, isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }
    return {name for name, is_self in owners if is_self == of_self}


def test_the_overrides_are_known():
    """A private method of ours that Keras has by the same name; where Keras drops it, it is no override any more."""
    ours = {name for name in vars(Adam) if name.startswith("_") and not name.startswith("__") and hasattr(BASE, name)}
    assert set(OVERRIDES) - ours == set(), lacks("Optimizer", ", ".join(set(OVERRIDES) - ours))
    assert ours == set(OVERRIDES), "overrides that this test does not know"


@pytest.mark.parametrize("name", OVERRIDES)
def test_keras_calls_each_override_with_the_same_arguments(name):
    assert hasattr(BASE, name), lacks("Optimizer", name)
    own, base = (inspect.signature(getattr(kind, name)).parameters for kind in (Adam, BASE))
    assert list(own) == list(base), f"Keras {keras.__version__} calls {name}({', '.join(base)})"
    calls = []

    class Watched(Adam):
        pass

    setattr(Watched, name, lambda self, *arguments: calls.append(len(arguments)) or arguments[0])
    optimizer, variables = built(Watched, **OVERRIDES[name])
    optimizer.apply([ops.ones(3)] * 2, variables)
    optimizer.finalize_variable_values(variables)
    assert calls, f"Keras {keras.__version__} does not call {name} any more"
    assert set(calls) == {len(own) - 1}


@pytest.mark.parametrize("name", sorted(own_names(ast.parse((SOURCE / "keras/adam.py").read_text()), of_self=True)))
def test_what_adam_uses_of_itself_is_there(name):
    optimizer, variables = built(amsgrad=True, use_ema=True, gradient_accumulation_steps=2)
    finding = Adam("auto")
    finding.build(variables)
    assert hasattr(optimizer, name) or hasattr(finding, name), lacks("Adam", name)


def test_keras_says_which_variable_is_which_and_which_decays():
    optimizer, (weight, bias) = built(weight_decay=0.1)
    assert [internals.index_of(optimizer, variable) for variable in (weight, bias)] == [0, 1]
    optimizer.exclude_from_weight_decay(var_list=[bias])
    assert optimizer._use_weight_decay(weight)
    assert not optimizer._use_weight_decay(bias)
    assert not internals.is_overwritten(optimizer, weight)
    bias.overwrite_with_gradient = True
    assert internals.is_overwritten(optimizer, bias)


# No other file.


@functools.cache
def private_names_of_keras():
    """What Keras's objects have that begins with an underscore, and is not a word of Python's own or ours."""
    optimizer, (variable, _) = built(BASE, amsgrad=True, use_ema=True)
    made = model()
    things = (optimizer, variable, made, made.layers[0], keras.optimizers.LossScaleOptimizer(optimizer))
    names = {name for thing in things for name in dir(thing) if name.startswith("_") and not name.startswith("__")}
    ours = {name for kind in Adam.__mro__ if kind.__module__.startswith("adamkit") for name in vars(kind)}
    return names - (ours - set(dir(BASE))) - {"_replace", "_fields", "_asdict", "_make"}  # of named tuples


@pytest.mark.parametrize(
    "file",
    [file for file in sorted(SOURCE.rglob("*.py")) if file.name != "internals.py"],
    ids=lambda file: file.relative_to(SOURCE).as_posix(),
)
def test_no_other_file_reaches_into_keras(file):
    text = file.read_text()
    assert "keras.src" not in text
    reached = own_names(ast.parse(text), of_self=False) & private_names_of_keras()
    if file in (SOURCE / "keras" / "adam.py", SOURCE / "lab" / "training" / "recording.py"):
        reached -= set(OVERRIDES)  # by `super()`
    assert reached == set(), f"{file} uses {reached}, which stands in keras/internals.py"
