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

space = {"learning_rate": "1e-5..1", "beta_1": "0..0.99"}
result = lab.tune(
    model, x, y, space=space, n=128, batch=32, epochs=10, validation_split=0.2,
    on_progress=lambda progress: print(f"{progress.done} settings, best so far {progress.summary['mean'].min():.4f}"),
)  # fmt: skip
print(result.study.best_params)
