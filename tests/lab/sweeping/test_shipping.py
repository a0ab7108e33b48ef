"""A model that went over as bytes is the model that was sent."""

import keras
import numpy as np
import pytest

from adamkit.keras import Adam
from adamkit.keras.internals import build_for, decays
from adamkit.lab.errors import InputError
from adamkit.lab.sweeping.remaking import remade
from tests import processes
from tests.lab.some_models import CASES, compiled

pytest.importorskip("ray")
from adamkit.lab.sweeping import shipping


def built(name, optimizer=None):
    make, objective, x, y = CASES[name]
    model = compiled(make, objective, optimizer)
    build_for(model, (x, y, None))
    return model


def assert_same(ours, theirs):
    for group in ("trainable_variables", "non_trainable_variables"):
        pairs = zip(getattr(ours, group), getattr(theirs, group), strict=True)
        for own, other in pairs:
            np.testing.assert_array_equal(own, other)
    for own, other in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
        np.testing.assert_array_equal(own, other)
        assert own.dtype == other.dtype


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dropout and batch normalization", "attention", "two inputs and two outputs"])
def test_models_of_all_kinds(name):
    model = built(name)
    rng = np.random.default_rng(1)
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        if variable.dtype == "float32":
            variable.assign(rng.random(variable.shape, "float32"))
    there = shipping.unpacked(shipping.packed(model))
    assert_same(there, model)
    _, _, x, y = CASES[name]
    np.testing.assert_array_equal(*(keras.tree.flatten(one(x))[0] for one in (there, model)))
    losses = [one.compute_loss(x, y, one(x)) for one in (there, model)]
    assert float(losses[0]) == float(losses[1])


def test_what_configurations_lose():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 100)
    model = built("dropout and batch normalization", Adam(schedule, weight_decay=0.1, moment_dtype="bfloat16"))
    frozen = remade(model)
    frozen.layers[0].trainable = False
    optimizer = Adam(schedule, weight_decay=0.1, moment_dtype="bfloat16")
    optimizer.exclude_from_weight_decay(var_list=[frozen.layers[1].gamma])
    frozen.compile(optimizer=optimizer, loss=keras.losses.BinaryCrossentropy(label_smoothing=0.1), metrics=["accuracy"])
    _, _, x, y = CASES["dropout and batch normalization"]
    build_for(frozen, (x, y, None))
    there = shipping.unpacked(shipping.packed(frozen))
    assert_same(there, frozen)
    assert not there.layers[0].trainable
    decaying = decays(there.optimizer, there.trainable_variables)
    paths = [variable.path for variable, does in zip(there.trainable_variables, decaying, strict=True) if not does]
    assert [path.rpartition("/")[2] for path in paths] == ["gamma"]
    assert float(there.optimizer.learning_rate) == float(frozen.optimizer.learning_rate)
    losses = [one.compute_loss(x, y, one(x)) for one in (there, frozen)]
    assert float(losses[0]) == float(losses[1])


@pytest.mark.slow
def test_code_of_the_users_own_goes_along(tmp_path):
    """To a process that cannot import it, for a layer, a function of a layer and a loss."""
    source = """
import sys
from pathlib import Path
import keras
from adamkit.keras import Adam
from adamkit.keras.internals import build_for
from adamkit.lab.sweeping import shipping
import numpy as np

def twice(x):
    return 2 * x

class Own(keras.layers.Layer):
    def call(self, x):
        return twice(x)

model = keras.Sequential([keras.Input((2,)), Own(), keras.layers.Dense(1, kernel_initializer="ones")])
model.compile(optimizer=Adam(), loss=lambda y, prediction: twice(keras.ops.mean(prediction)))
build_for(model, (np.ones((1, 2)), np.ones((1, 1)), None))
Path(sys.argv[1]).write_bytes(shipping.packed(model))
"""
    processes.run("-c", source, str(tmp_path / "sent"), check=True)
    model = shipping.unpacked((tmp_path / "sent").read_bytes())
    assert float(model.compute_loss(None, np.ones((1, 1)), model(np.ones((1, 2))))) == 2 * 2 * 2
    del keras.saving.get_custom_objects()["Own"]


def test_a_model_without_a_configuration_is_refused():
    model = built("subclassed")
    with pytest.raises(InputError, match="another process makes again from its configuration"):
        shipping.unpacked(shipping.packed(model))


def test_settings_of_numbers_go_along():
    before = shipping.numerics()
    changed = {**before, "keras": before["keras"] | {"epsilon": 1e-3}}
    try:
        shipping.set_numerics(changed)
        assert keras.config.epsilon() == 1e-3
        assert shipping.numerics() == changed
    finally:
        shipping.set_numerics(before)
