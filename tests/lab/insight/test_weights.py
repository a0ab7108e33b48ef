"""A weight of a run, traced by training the run again, is the run's to the bit."""

import numpy as np
import pytest

import adamkit
from adamkit.lab import runs
from adamkit.lab.errors import InputError
from adamkit.lab.insight.weights import weight_of_run
from adamkit.lab.training.trainer import train

pytestmark = pytest.mark.slow  # seconds, all in all

SETTINGS = {
    "data": "wine", "model": "logistic", "epochs": 2, "batch_size": 89, "learning_rate": 0.01, "epsilon": 1e-3,
}  # fmt: skip


def trained(settings):
    """The run's history, and its weights at the end."""
    prepared = runs.prepare(settings)
    x, y = prepared.train.x, prepared.train.y
    result = train(prepared.model, x, y, epochs=settings.epochs, batch_size=settings.batch_size, seed=settings.seed)
    return result.history, [np.asarray(v.value) for v in prepared.model.trainable_variables]


@pytest.mark.parametrize(
    "changes",
    [
        {"weight_decay": 0.1, "amsgrad": True, "warmup_steps": 2, "cosine_alpha": 0.1},
        {"moment_dtype": "bfloat16", "epsilon_hat": True, "bias_correction": False},
    ],
)
def test_the_table_is_the_run_and_each_row_adams_step_of_the_row_before(changes):
    settings = runs.Settings(**(SETTINGS | changes))
    history, weights = trained(settings)
    found = weight_of_run(settings, "kernel[3,1]")
    assert found.weight == "sequential/dense/kernel[3,1]"
    assert found.total == len(found.trace.steps) == 4
    assert found.history.drop(columns="seconds").equals(history.drop(columns="seconds"))
    steps = found.trace.steps
    assert steps[-1].after[0] == weights[0][3, 1]  # to the bit
    options = {name: changes[name] for name in ("weight_decay", "epsilon_hat", "bias_correction") if name in changes}
    state = adamkit.init(np.zeros(1), amsgrad=settings.amsgrad)
    for step, row in zip(steps, found.trace.history.itertuples(), strict=True):
        before = np.array([row.theta_before])
        after, new = adamkit.step(before, [row.g], state, learning_rate=step.learning_rate, epsilon=1e-3, **options)
        assert row.step == (before - after)[0]  # to the bit
        assert row.theta == pytest.approx(after[0], rel=1e-6)
        narrow = 2**-7 if settings.moment_dtype == "bfloat16" else 1e-6
        assert (row.m, row.v) == pytest.approx((new.first_moment[0], new.second_moment[0]), rel=narrow)
        state = new._replace(
            first_moment=step.first_moment, second_moment=step.second_moment, max_second_moment=step.largest
        )
    assert (found.trace.kept_in == "bfloat16") == ("as bfloat16 keeps it" in str(found.trace.explained(4)))


@pytest.mark.parametrize(
    ("weight", "steps", "message"),
    [
        (
            "dense/kernl[3,1]",
            None,
            r"one of sequential/dense/kernel \[13, 3\], .*'dense/kernl\[3,1\]'.* 'dense/kernel'\?",
        ),
        ("", None, r"weight must be one of sequential/dense/kernel \[13, 3\], sequential/dense/bias \[3\]"),
        ("dense/kernel", None, r"weight must be sequential/dense/kernel\[0…12,0…2\]"),
        ("dense/kernel[13,0]", None, r"weight must be sequential/dense/kernel\[0…12,0…2\]"),
        ("dense/bias[x]", None, "weight must be a name and an index"),
        ("dense/bias[]", None, "weight must have whole numbers in its brackets"),
        ("dense/bias[0]", 5, "steps must be a whole number >= 1 and <= 4. Received: steps=5"),
        ("dense/bias[0]", 0, "steps must be a whole number >= 1 and <= 4. Received: steps=0"),
    ],
)
def test_weights_and_steps_that_are_not_there(weight, steps, message):
    with pytest.raises(InputError, match=message):
        weight_of_run(runs.Settings(**SETTINGS), weight, steps=steps)
