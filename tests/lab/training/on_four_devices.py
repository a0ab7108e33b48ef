"""Run by test_devices.py in a process with four devices: a model on all of them is what it is on one."""

import contextlib
import math
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from keras.distribution import DataParallel, DeviceMesh, LayoutMap, ModelParallel, TensorLayout

from adamkit import lab
from adamkit.keras import Adam, without_decay
from adamkit.keras.internals import without_tensorflow
from adamkit.lab.errors import InputError
from adamkit.lab.training.compiled_programs import keep_on_disk

ROWS, BATCH = 16, 8
X = np.random.default_rng(0).normal(size=(ROWS, 32)).astype("float32")
Y = X.sum(axis=1)
DEVICES = keras.distribution.list_devices("cpu")
MESH = DeviceMesh((2, 2), ("batch", "model"), DEVICES)
LAYOUTS = LayoutMap(MESH)
LAYOUTS[".*columns/kernel"] = TensorLayout((None, "model"), MESH)
LAYOUTS[".*rows/kernel"] = TensorLayout(("model", None), MESH)
LAYOUTS[".*table/embeddings"] = TensorLayout(("model", None), MESH)
MODEL_PARALLEL = ModelParallel(layout_map=LAYOUTS, batch_dim_name="batch")
DATA_PARALLEL = DataParallel(devices=DEVICES)


def compiled(dtype="float32", grouped=False, **options):
    layers = [
        keras.layers.Dense(128, "relu", name="columns", dtype=dtype),
        keras.layers.Dense(64, "relu", name="rows", dtype=dtype),
        keras.layers.Dense(1, name="head", dtype=dtype),
    ]
    model = keras.Sequential([keras.Input((32,)), *layers], name="network")
    draws = np.random.default_rng(1)
    model.set_weights([draws.normal(0, 0.1, weight.shape) for weight in model.weights])
    if grouped:
        options |= {
            "weight_decay": 0.1,
            "groups": without_decay(model) | {"rows/kernel": {"learning_rate_multiplier": 0.5}},
        }
    model.compile(optimizer=Adam(0.01, **options), loss="mse")
    return model


def train(model, distribution=None, **options):
    return lab.train(model, X, Y, batch_size=BATCH, distribution=distribution, **{"epochs": 2, **options}).history.loss


def check_the_state_is_where_the_weights_are(model):
    """On each device half of every moment, its scales and its remainder, where it has half of the weight."""
    for layer in ("columns", "rows"):
        kept = [variable for variable in model.optimizer.variables if f"{layer}_kernel" in variable.path]
        for variable in (model.get_layer(layer).kernel, *kept):
            shard = variable.value.addressable_shards[0].data
            assert 2 * shard.size == math.prod(variable.shape), f"{variable.path}: {shard.shape} of {variable.shape}"


def same_loss_and_state(distribution, **options):
    alone = compiled(**options)
    expected = train(alone)
    with distribution.scope():
        model = compiled(**options)
    found = train(model, distribution)
    # What is added up in another order is rounded otherwise, which bfloat16 weights make more of.
    np.testing.assert_allclose(found, expected, rtol=5e-3 if options.get("dtype") == "bfloat16" else 1e-5)
    return model


def numbers(model):
    return [np.ravel(variable.value) for variable in (*model.variables, *model.optimizer.variables)]


def check_a_file_from_four_devices_is_the_model_on_one_and_back(model):
    with tempfile.TemporaryDirectory() as folder, without_tensorflow():
        model.save(f"{folder}/model.keras")
        alone = keras.models.load_model(f"{folder}/model.keras")
        alone.save(f"{folder}/alone.keras")
        with MODEL_PARALLEL.scope():
            back = keras.models.load_model(f"{folder}/alone.keras")
    for before, on_one, after in zip(*map(numbers, (model, alone, back)), strict=True):
        np.testing.assert_array_equal(on_one, before)
        np.testing.assert_array_equal(after, before)
    check_the_state_is_where_the_weights_are(back)


def check_a_run_goes_on_at_another_number_of_devices():
    options = {"moment_dtype": "int8"}
    whole = train(compiled(**options), epochs=3)
    with tempfile.TemporaryDirectory() as folder:
        train(compiled(**options), epochs=1, folder=Path(folder))
        with MODEL_PARALLEL.scope():
            model = compiled(**options)
        train(model, MODEL_PARALLEL, epochs=2, folder=Path(folder))
        check_the_state_is_where_the_weights_are(model)
        history = train(compiled(**options), epochs=3, folder=Path(folder))
    np.testing.assert_allclose(history, whole, rtol=1e-5)


def check_what_cannot_be_distributed_is_named():
    with pytest.raises(InputError, match=r"within `with distribution.scope\(\):`.*columns/kernel is on 1 of 4 devices"):
        train(compiled(), DATA_PARALLEL)
    with DATA_PARALLEL.scope():
        model = compiled()
        with pytest.raises(InputError, match=r"batches that 4 devices share equally. Received: batch_size=6"):
            lab.train(model, X, Y, batch_size=6, epochs=1)
        with pytest.raises(InputError, match=r"Received: a last batch of 1 rows to validate on"):
            lab.train(model, X, Y, batch_size=8, epochs=1, validation_data=(X[:9], Y[:9]))
    with pytest.raises(TypeError, match=r"distribution must be a keras.distribution.DataParallel .*Received: str"):
        train(compiled(), "all")


def check_lazy_steps_go_to_the_rows_of_a_table_that_is_cut():
    words = np.random.default_rng(2).integers(0, 32, (16, 3))
    found = []
    for distribution in (None, MODEL_PARALLEL):
        with distribution.scope() if distribution else contextlib.nullcontext(), without_tensorflow():
            keras.utils.set_random_seed(0)
            layers = [keras.layers.Embedding(64, 8, name="table"), keras.layers.Flatten(), keras.layers.Dense(1)]
            model = keras.Sequential([keras.Input((3,), dtype="int32"), *layers], name="network")
            model.compile(Adam(0.01, lazy="exact"), loss="mse")
        lab.train(model, words, np.ones(16, "float32"), batch_size=BATCH, epochs=2, distribution=distribution)
        found.append(numbers(model))
    kept = [variable for variable in model.optimizer.variables if "table_embeddings" in variable.path]
    assert len(kept) == 3  # m, v and the last steps
    for variable in kept:
        assert 2 * variable.value.addressable_shards[0].data.size == math.prod(variable.shape)
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    warnings.simplefilter("error", RuntimeWarning)
    assert keep_on_disk()  # what several models on one device share
    same_loss_and_state(DATA_PARALLEL, moment_dtype="int8")
    coded = same_loss_and_state(MODEL_PARALLEL, moment_dtype="int8", grouped=True)
    check_the_state_is_where_the_weights_are(coded)
    check_a_file_from_four_devices_is_the_model_on_one_and_back(coded)
    for options in (
        {"moment_dtype": "bfloat16", "dtype": "bfloat16"},
        {"moment_dtype": "int8", "dtype": "bfloat16", "parameter_rounding": "stochastic", "amsgrad": True},
    ):
        check_the_state_is_where_the_weights_are(same_loss_and_state(MODEL_PARALLEL, **options))
    shared = same_loss_and_state(MODEL_PARALLEL, blockwise=True).optimizer
    shards = [v.value.addressable_shards[0].data.shape for v in shared.variables if "velocity" in v.path]
    assert shards == [(1, 64), (1,), (1, 64), (1,), (1, 1), (1,)], shards  # (1, 128) by columns, (1, 64) by rows
    check_a_run_goes_on_at_another_number_of_devices()
    check_lazy_steps_go_to_the_rows_of_a_table_that_is_cut()
    check_what_cannot_be_distributed_is_named()
