"""`lazy` steps the rows that a sparse gradient has, as a dense step of these rows alone would."""

import keras
import numpy as np
import pytest
from keras import ops

from adamkit import lab
from adamkit.keras import Adam, exchange
from adamkit.keras.internals import trained_by
from adamkit.keras.sparse import Rows
from tests import reference
from tests.keras.test_exactness import as_numpy

BACKEND = keras.backend.backend()
ROWS = [[3, 1, 3], [0, 1, 1], [3, 3, 0]]  # 2 and 4 never occur

on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's programs")
on_pytorch = pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's gradients")
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="JAX's programs")


def sparse(rows, values, shape=(5, 4)):
    """A gradient of a table with these rows."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.IndexedSlices(tf.constant(values), tf.constant(rows, tf.int64), tf.constant(shape))
    if BACKEND == "jax":
        unique, places = np.unique(rows, return_inverse=True)
        sums = np.zeros((len(unique), *shape[1:]), "float32")
        np.add.at(sums, places, values)
        return Rows(ops.convert_to_tensor(sums), ops.convert_to_tensor(unique.astype("int32")), shape)
    import torch

    indices, values = torch.tensor(rows)[None], torch.as_tensor(values)
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True)


def gradient_of(rows, seed=0):
    """A sparse gradient of a table of 5 rows of 4, and the same as an array."""
    values = np.random.default_rng(seed).normal(size=(len(rows), 4)).astype("float32")
    whole = np.zeros((5, 4), "float32")
    np.add.at(whole, rows, values)
    return sparse(rows, values), whole


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True, "moment_dtype": "bfloat16", "weight_decay": 0.1}], ids=str)
def test_rows_that_occur_step_by_their_sums_and_others_stay(options, dtype):
    table = keras.Variable(np.ones((5, 4), "float32"), dtype=dtype)
    optimizer = Adam(0.125, lazy=True, **options)
    optimizer.build([table])
    alone = [keras.Variable(np.ones((1, 4), "float32"), dtype=dtype) for _ in range(5)]
    each = [Adam(0.125, **options) for _ in alone]
    for seed, rows in enumerate(ROWS):
        gradient, whole = gradient_of(rows, seed)
        optimizer.apply([gradient], [table])
        for row in range(5):
            if row in rows:
                each[row].apply([ops.convert_to_tensor(whole[row : row + 1])], [alone[row]])
            else:  # its moments stay, but steps are counted for the whole table
                each[row].build([alone[row]])
                each[row].iterations.assign_add(1)
    expected = np.concatenate([as_numpy(ops.cast(variable, "float32")) for variable in alone])
    np.testing.assert_allclose(as_numpy(ops.cast(table, "float32")), expected, rtol=1e-6)
    assert (as_numpy(ops.cast(table, "float32"))[[2, 4]] == 1).all()


def after(all_rows, **options):
    """An optimizer and its table after steps of these rows, and the oracle's dense steps."""
    options = {"lazy": "exact", **options}
    table = keras.Variable(np.ones((5, 4), "float32"))
    optimizer = Adam(0.125, **options)
    gradients = [gradient_of(rows, seed) for seed, rows in enumerate(all_rows)]
    for gradient, _ in gradients:
        optimizer.apply([gradient], [table])
    oracle = {name: value for name, value in options.items() if name in ("amsgrad", "beta_1", "nesterov")}
    return optimizer, table, reference.run(np.ones((5, 4)), [g for _, g in gradients], learning_rate=0.125, **oracle)


def assert_moments(optimizer, exact, rows=..., rtol=2e-6):
    for kept, expected in zip((optimizer._momentums[0], optimizer._velocities[0]), (exact.m, exact.v), strict=True):
        np.testing.assert_allclose(as_numpy(kept)[rows], expected[rows], rtol=rtol)


@pytest.mark.parametrize(
    "options", [{}, {"amsgrad": True, "beta_1": 0.0}, {"moment_dtype": "bfloat16"}, {"nesterov": True}], ids=str
)
def test_exact_moments_are_those_of_dense_adam_and_rows_that_are_missing_stay(options):
    for count in range(1, len(ROWS) + 1):
        optimizer, table, dense = after(ROWS[:count], **options)
        rows = sorted({*ROWS[count - 1]})
        assert_moments(optimizer, dense[-1], rows, rtol=0.02 if "moment_dtype" in options else 2e-6)
        assert (as_numpy(table)[[2, 4]] == 1).all()
    assert as_numpy(optimizer.missed_steps(table)).tolist() == [0, 1, 3, 0, 3]


@on_tensorflow
@pytest.mark.parametrize("options", [{"lazy": True, "clipnorm": 0.5}, {"lazy": "exact"}], ids=str)
def test_compiled_by_xla_it_is_the_same(options):
    import tensorflow as tf

    optimizer, table, _ = after(ROWS[:1], **options)
    compiled = tf.function(lambda gradient: optimizer.apply([gradient], [table]), jit_compile=True)
    whole = ops.convert_to_tensor(gradient_of([1], seed=3)[1])
    for gradient in (gradient_of(ROWS[1], seed=1)[0], gradient_of(ROWS[2], seed=2)[0], whole):
        compiled(gradient)
    other, own, _ = after(ROWS, **options)
    other.apply([whole], [own])
    for one, two in zip((table, *optimizer.variables), (own, *other.variables), strict=True):
        np.testing.assert_allclose(as_numpy(one), as_numpy(two), rtol=1e-6)


@on_tensorflow
@pytest.mark.parametrize("rounding", ["stochastic", "compensated8"])
def test_how_many_rows_there_are_need_not_be_known_while_a_graph_is_made(rounding):
    import tensorflow as tf

    tables = [keras.Variable(np.ones((5, 4), "float32"), dtype="bfloat16") for _ in range(2)]
    for table, any_number in zip(tables, (False, True), strict=True):
        optimizer = Adam(0.125, lazy=True, parameter_rounding=rounding)
        optimizer.build([table])

        def step(values, rows, optimizer=optimizer, table=table):
            optimizer.apply([tf.IndexedSlices(values, rows, tf.constant([5, 4]))], [table])

        if any_number:  # as in `fit`
            types = [tf.TensorSpec((None, 4), "float32"), tf.TensorSpec((None,), "int64")]
            step = tf.function(lambda values, rows, step=step: step(values, rows), input_signature=types)
        for seed, rows in enumerate(ROWS):
            gradient = gradient_of(rows, seed)[0]
            step(gradient.values, gradient.indices)
    np.testing.assert_array_equal(*(as_numpy(ops.cast(table, "float32")) for table in tables))


def test_exact_moments_are_found_by_a_dense_step_and_by_who_takes_the_state_over():
    optimizer, table, dense = after(ROWS)
    store = {str(i): as_numpy(variable) for i, variable in enumerate(optimizer.variables)}
    store |= {str(i): v.numpy() for i, v in enumerate(optimizer.variables) if "int" in str(v.dtype)}
    assert_moments(optimizer.to_keras(), dense[-1])
    carried = exchange.carried(optimizer)
    np.testing.assert_allclose(carried.parameters[0].moments["second"].values, dense[-1].v, rtol=2e-6)
    for lazy in (True, "exact"):  # what is saved says which rows have missed steps
        other = Adam(0.125, lazy=lazy)
        other.build([keras.Variable(as_numpy(table))])
        other.load_own_variables(store)
        if lazy is True:
            assert_moments(other, dense[-1])
        else:
            for one, two in zip(optimizer.variables, other.variables, strict=True):
                np.testing.assert_array_equal(as_numpy(one), as_numpy(two))
    other.load_own_variables({name: store[name] for name in list(store)[:-1]})  # of `lazy=False`: all are as of now
    assert as_numpy(other.missed_steps(trained_by(other)[0])).tolist() == [0] * 5
    gradient = np.ones((5, 4), "float32")
    optimizer.apply([ops.convert_to_tensor(gradient)], [table])
    assert_moments(optimizer, reference.step(dense[-1], gradient))
    assert as_numpy(optimizer.missed_steps(table)).tolist() == [0] * 5


@pytest.mark.parametrize("options", [{"clipnorm": 0.5}, {"global_clipnorm": 0.5}, {"clipvalue": 0.5}], ids=str)
@pytest.mark.parametrize("scale", [None] if BACKEND == "tensorflow" else [None, 2.0])  # where Keras cannot divide
def test_gradients_are_unscaled_and_clipped_as_dense_ones(options, scale):
    after_each = []
    for is_lazy in (False, True):
        table, weight = keras.Variable(np.ones((5, 4), "float32")), keras.Variable(np.ones(3, "float32"))
        optimizer = Adam(0.125, lazy=is_lazy, loss_scale_factor=scale, **options)
        for seed, rows in enumerate([[3, 1, 3], [1, 1, 3], [1, 3]]):  # those that occur do so each time
            gradient, whole = gradient_of(rows, seed)
            given = gradient if is_lazy else ops.convert_to_tensor(whole)
            optimizer.apply([given, ops.convert_to_tensor(np.float32([seed, 1, -1]))], [table, weight])
        after_each.append([as_numpy(variable) for variable in (table, weight, *optimizer.variables)])
    for one, two in zip(*after_each, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-6)


@pytest.mark.parametrize("lazy", [True, "exact"])
def test_a_step_that_is_not_finite_is_skipped(lazy):
    optimizer, table, _ = after(ROWS, lazy=lazy, on_nonfinite="skip")
    before = [as_numpy(variable) for variable in (table, *optimizer.variables[:-1])]
    optimizer.apply([sparse([1, 2], np.float32([[np.nan] * 4, [1.0] * 4]))], [table])
    for variable, value in zip((table, *optimizer.variables[:-1]), before, strict=True):
        np.testing.assert_array_equal(as_numpy(variable), value)
    assert optimizer.skipped_steps == 1


def model_of(optimizer, **options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Embedding(6, 3), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1))
    model.compile(optimizer, loss="mse", **options)
    return model, model.layers[0].embeddings


WORDS = np.array([[0, 1], [3, 3]] * 8)
FIT = {"x": WORDS, "y": WORDS[:, :1].astype("float32"), "batch_size": 4, "epochs": 1, "verbose": 0}


@pytest.mark.slow
@pytest.mark.parametrize("lazy", [True, "exact"])
def test_an_embedding_trains_in_fit(lazy):
    model, table = model_of(Adam(0.01, lazy=lazy))
    before = as_numpy(table)
    model.fit(**FIT)
    assert ((as_numpy(table) != before).all(axis=1) == [True, True, False, True, False, False]).all()
    assert Adam.from_config(model.optimizer.get_config()).lazy == lazy


@on_pytorch
def test_gradients_are_sparse_only_for_the_lazy_optimizer_that_trains_the_table():
    lookup, check = keras.layers.Embedding.call, keras.optimizers.LossScaleOptimizer.check_finite
    model, table = model_of(Adam(0.01, lazy=True))
    model.train_on_batch(WORDS, WORDS[:, :1])
    assert table.value.grad.is_sparse
    model.compile("sgd", loss="mse")
    model.train_on_batch(WORDS, WORDS[:, :1])
    assert not table.value.grad.is_sparse
    assert keras.layers.Embedding.call is lookup
    assert keras.optimizers.LossScaleOptimizer.check_finite is check


@on_pytorch
@pytest.mark.parametrize("words", [[[0, 5], [2, 2]], [[-1.0, 3.0]]], ids=str)
def test_a_look_up_is_that_of_keras(words):
    layer = keras.layers.Embedding(6, 3)
    layer.build()
    optimizer = Adam(lazy=True)
    optimizer.build([layer.embeddings])
    words = ops.convert_to_tensor(words)
    expected = layer(words)
    expected.sum().backward()
    dense = layer.embeddings.value.grad
    layer.embeddings.value.grad = None
    with optimizer.sparse_gradients():
        found = layer(words)
    found.sum().backward()
    assert layer.embeddings.value.grad.is_sparse
    np.testing.assert_array_equal(as_numpy(found), as_numpy(expected))
    np.testing.assert_array_equal(layer.embeddings.value.grad.to_dense().numpy(), dense.numpy())


@pytest.fixture
def sparse_steps(monkeypatch):
    """A list that has an entry for each step, or trace of one, of some rows."""
    from adamkit.keras import adam, rows

    found = []
    step_rows, in_one_pass = rows.step_rows, rows.step_rows_in_one_pass
    monkeypatch.setattr(adam, "step_rows", lambda *args: found.append(1) or step_rows(*args))
    monkeypatch.setattr(rows, "step_rows_in_one_pass", lambda *args: in_one_pass(*args) and (found.append(1) or True))
    return found


class Inside(keras.layers.Layer):
    """Looks up inside of something else."""

    def __init__(self, how):
        super().__init__()
        self.how, self.table = how, keras.layers.Embedding(4, 3)

    def build(self, _):
        self.table.build()

    def call(self, words):
        if self.how == "a map":
            return ops.vectorized_map(self.table, words)
        if self.how == "a loop":
            return ops.transpose(ops.scan(lambda _, one: (0, self.table(one)), 0, ops.transpose(words))[1], (1, 0, 2))
        return ops.cond(ops.any(words > 0), lambda: self.table(words), lambda: 2 * self.table(words))


KINDS = ["masked", "shared", "tied", "regularized", "LoRA", "loss scaling", "bfloat16"]
ON_JAX = ["a map", "a loop", "a branch"]
DENSE = {"tied", "regularized", "LoRA", *ON_JAX}  # something else reaches the table, or how often is not known


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras makes them sparse there")
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS + (ON_JAX if BACKEND == "jax" else []))
def test_what_models_do_with_embeddings(kind, sparse_steps):
    """As on Keras's dense gradients, where every row occurs in every batch, so that both are the same steps."""
    if kind == "loss scaling" and BACKEND == "jax":
        pytest.skip("refused")
    options = {"masked": {"mask_zero": True}, "regularized": {"embeddings_regularizer": "l2"}}.get(kind, {})
    options |= {"dtype": "bfloat16"} if kind == "bfloat16" else {}
    results = []
    for is_lazy in (False, True):
        keras.utils.set_random_seed(0)
        make = keras.layers.ReversibleEmbedding if kind == "tied" else keras.layers.Embedding
        layer = Inside(kind) if kind in ON_JAX else make(4, 3, **options)
        words = keras.Input((4,), dtype="int32")
        x = layer(words)
        if kind == "shared":
            x = x + layer(ops.flip(words, axis=1))
        if kind == "LoRA":
            layer.enable_lora(2)
        if kind == "tied":
            x = layer(x, reverse=True)
        optimizer = Adam(0.01, lazy=is_lazy)
        if kind == "loss scaling":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
        model = keras.Model(words, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(x)))
        model.compile(optimizer, loss="mse")
        data = np.array([[0, 1, 2, 3], [1, -2, 2, 3], [3, 3, 1, 0]])
        for _ in range(3):
            model.train_on_batch(data, data[:, :1].astype("float32"))
        results.append([as_numpy(variable) for variable in model.variables])
    assert bool(sparse_steps) == (kind not in DENSE)
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=0.01 if kind == "bfloat16" else 1e-4, atol=1e-6)


@on_jax
def test_loss_scaling_is_refused():
    model, _ = model_of(keras.optimizers.LossScaleOptimizer(Adam(lazy=True)))
    with pytest.raises(ValueError, match="lazy=True does not go with LossScaleOptimizer on JAX"):
        model.train_on_batch(WORDS, WORDS[:, :1])


@on_jax
@pytest.mark.slow
@pytest.mark.parametrize("lazy", [True, "exact"])
def test_the_lab_steps_rows_as_fit_does(lazy, sparse_steps):
    results = []
    for in_lab in (False, True):
        keras.utils.set_random_seed(0)
        model, _ = model_of(Adam(0.01, lazy=lazy))
        data, options = (FIT["x"], FIT["y"]), {"batch_size": 4, "epochs": 2, "shuffle": False}
        lab.train(model, *data, **options) if in_lab else model.fit(*data, **options, verbose=0)
        assert sparse_steps
        sparse_steps.clear()
        results.append([as_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


@on_pytorch
def test_a_compiled_model_is_refused():
    model, _ = model_of(Adam(lazy=True), jit_compile=True)
    with pytest.raises(ValueError, match="lazy=True does not go with jit_compile=True"):
        model.fit(**FIT)


@pytest.mark.parametrize(
    "other",
    [
        {"moment_dtype": "int8"},
        {"gradient_accumulation_steps": 2},
        {"schedule_free": True},
        {"learning_rate": "auto"},
        {"blockwise": True},
    ],
    ids=str,
)
def test_what_it_does_not_go_with(other):
    with pytest.raises(ValueError, match=f"lazy='exact' does not go with {next(iter(other))}"):
        Adam(lazy="exact", **other)


@pytest.mark.parametrize("wrong", [1, "always", None])
def test_what_it_may_not_be(wrong):
    with pytest.raises(TypeError, match="lazy must be True, False or 'exact'"):
        Adam(lazy=wrong)
