"""What is recorded of one weight is what the optimizer did, in every format, and recording changes no bit of it."""

import keras
import numpy as np
import pytest
from keras import ops

import adamkit
from adamkit.keras import Adam
from adamkit.keras.internals import moments_of
from adamkit.lab.training.recording import Recording, Row

pytestmark = pytest.mark.slow  # seconds, all in all

ROWS, BATCH, EPOCHS = 12, 4, 2  # three steps an epoch
INDEX = 5


def trained(optimizer, dtype):
    x, y = np.random.default_rng(0).random((ROWS, 64), "float32"), np.arange(ROWS) % 2
    start = keras.initializers.GlorotUniform(1)
    layers = [keras.layers.Dense(n, dtype=dtype, kernel_initializer=start) for n in (64, 1)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(optimizer=optimizer, loss="mse")
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    return [ops.convert_to_numpy(ops.cast(v, "float32")) for v in model.trainable_variables]


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("float32", {"amsgrad": True, "clipnorm": 0.01}),
        ("float32", {"moment_dtype": "int8"}),
        ("bfloat16", {"moment_dtype": "bfloat16", "weight_decay": 0.1}),
    ],
)
def test_a_weight_as_it_was(dtype, options):
    steps = 5
    recording = Recording(place=(0, INDEX), steps=steps, learning_rate=0.01, **options)
    plain = trained(Adam(0.01, **options), dtype)
    for one, other in zip(trained(recording, dtype), plain, strict=True):
        np.testing.assert_array_equal(one, other)
    rows = recording.rows
    assert len(rows.before) == steps
    np.testing.assert_array_equal(rows.before[1:], rows.after[:-1])
    own = {name: value for name, value in options.items() if name == "weight_decay"}
    state = adamkit.init(np.zeros(()), amsgrad=recording.amsgrad)
    for row in map(Row._make, np.transpose(rows)):
        theta, state = adamkit.step(
            row.before, row.gradient, state, learning_rate=float(row.learning_rate), epsilon=1e-7, **own
        )
        np.testing.assert_allclose(row.after, theta, rtol=1e-6)
        largest = row.largest if recording.amsgrad else None
        state = state._replace(
            first_moment=row.first_moment, second_moment=row.second_moment, max_second_moment=largest
        )


def test_all_steps_are_kept_where_there_are_fewer():
    recording = Recording(place=(2, 3), steps=50, learning_rate=0.01)
    kernel = trained(recording, "float32")[2]
    assert len(recording.rows.after) == EPOCHS * 3
    assert recording.rows.after[-1] == kernel[3, 0]
    own = recording.rows.first_moment, recording.rows.second_moment
    for moment, kept in zip(moments_of(recording), own, strict=True):
        assert ops.convert_to_numpy(moment[2])[3, 0] == kept[-1]
