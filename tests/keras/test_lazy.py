"""`lazy=True` steps the rows that a sparse gradient has, as a dense step of these rows alone would."""

import keras
import numpy as np
import pytest
from keras import ops

from adamkit.keras import Adam
from tests.keras.test_exactness import as_numpy

TENSORFLOW = keras.backend.backend() == "tensorflow"
ROWS = [[3, 1, 3], [0, 1, 1], [3, 3, 0]]  # 2 and 4 never occur


@pytest.mark.skipif(TENSORFLOW, reason="there gradients are sparse")
def test_where_gradients_are_dense_it_is_an_error():
    with pytest.raises(ValueError, match=r"lazy=True needs the sparse gradients .* on TensorFlow only"):
        Adam(lazy=True)


@pytest.mark.skipif(not TENSORFLOW, reason="only there gradients are sparse")
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "XLA"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("options", [{}, {"amsgrad": True, "moment_dtype": "bfloat16", "weight_decay": 0.1}], ids=str)
def test_rows_that_occur_step_by_their_sums_and_others_stay(options, dtype, compiled):
    import tensorflow as tf

    table = keras.Variable(np.ones((5, 4), "float32"), dtype=dtype)
    optimizer = Adam(0.125, lazy=True, **options)
    optimizer.build([table])

    @tf.function(jit_compile=True)
    def step(rows, values):
        optimizer.apply([tf.IndexedSlices(values, rows, tf.constant([5, 4]))], [table])

    alone = [keras.Variable(np.ones((1, 4), "float32"), dtype=dtype) for _ in range(5)]
    each = [Adam(0.125, **options) for _ in alone]
    rng = np.random.default_rng(0)
    for rows in ROWS:
        values = rng.normal(size=(len(rows), 4)).astype("float32")
        step_now = step if compiled else step.python_function
        step_now(tf.constant(rows, tf.int64), tf.constant(values))
        for row in range(5):
            if row in rows:
                gradient = values[np.array(rows) == row].sum(axis=0, keepdims=True)
                each[row].apply([ops.convert_to_tensor(gradient)], [alone[row]])
            else:  # its moments stay, but steps are counted for the whole table
                each[row].build([alone[row]])
                each[row].iterations.assign_add(1)
    expected = np.concatenate([as_numpy(ops.cast(variable, "float32")) for variable in alone])
    np.testing.assert_allclose(as_numpy(ops.cast(table, "float32")), expected, rtol=1e-6)
    assert (as_numpy(ops.cast(table, "float32"))[[2, 4]] == 1).all()


@pytest.mark.skipif(not TENSORFLOW, reason="only there gradients are sparse")
@pytest.mark.slow
def test_an_embedding_trains_in_fit():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Embedding(6, 3), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1))
    model.compile(Adam(0.01, lazy=True), loss="mse")
    table = model.layers[0].embeddings
    before = as_numpy(table)
    x = np.array([[0, 1], [3, 3]] * 8)
    model.fit(x, x[:, :1].astype("float32"), batch_size=4, epochs=1, verbose=0)
    assert ((as_numpy(table) != before).all(axis=1) == [True, True, False, True, False, False]).all()
    assert Adam.from_config(model.optimizer.get_config()).lazy


@pytest.mark.skipif(not TENSORFLOW, reason="only there gradients are sparse")
@pytest.mark.parametrize(
    "other",
    [{"moment_dtype": "int8"}, {"gradient_accumulation_steps": 2}, {"schedule_free": True}, {"learning_rate": "auto"}],
    ids=str,
)
def test_what_it_does_not_go_with(other):
    with pytest.raises(ValueError, match=f"lazy=True does not go with {next(iter(other))}"):
        Adam(lazy=True, **other)
