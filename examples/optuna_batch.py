"""Optuna chooses the settings, adamkit trains them: 32 at a time, as one program.

python examples/optuna_batch.py
"""

from adamkit import lab  # before Keras: it picks the JAX backend

# isort: split
import keras
import numpy as np
import optuna
from sklearn.datasets import load_digits

from adamkit.keras import Adam

optuna.logging.set_verbosity(optuna.logging.WARNING)
keras.utils.set_random_seed(0)  # of the initial weights, from which all settings start
x, y = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(x))
x, y = x[order] / 16, y[order]

model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile(optimizer=Adam(), loss="sparse_categorical_crossentropy", metrics=["accuracy"])

distributions = {
    "learning_rate": optuna.distributions.FloatDistribution(1e-5, 1, log=True),
    "one_minus_beta_1": optuna.distributions.FloatDistribution(0.01, 1, log=True),  # the scale that suits a β
}
# With `constant_liar` trials that are asked for together keep away from each other.
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, constant_liar=True))
for batch in range(4):
    trials = [study.ask(distributions) for _ in range(32)]
    settings = [
        {"learning_rate": trial.params["learning_rate"], "beta_1": 1 - trial.params["one_minus_beta_1"]}
        for trial in trials
    ]
    result = lab.sweep(model, x, y, space=settings, epochs=10, validation_split=0.2)
    for trial, value in zip(trials, result.summary["mean"], strict=True):  # in the order of the settings
        study.tell(trial, value)
    print(f"batch {batch + 1}: best of it {result.summary['mean'].min():.4f}, best so far {study.best_value:.4f}")

print(study.best_params)
