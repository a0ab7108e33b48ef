"""What do the learning rate and β₁ do? 256 settings of Adam on handwritten digits, trained as one program.

python examples/sweep_digits.py [FOLDER]

With a folder it is kept there, with a report; a sweep that was cut short goes on from there.
"""

import sys

from adamkit import lab  # before Keras: it picks the JAX backend

# isort: split
import keras
import numpy as np
from sklearn.datasets import load_digits

from adamkit.keras import Adam
from adamkit.lab import spaces

keras.utils.set_random_seed(0)  # of the initial weights, from which all settings start
x, y = load_digits(return_X_y=True)  # 1797 images of 8 by 8
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

settings = spaces.draw({"learning_rate": "1e-5..1", "beta_1": "0..0.99"}, 256)
result = lab.sweep(
    model,
    x,
    y,
    space=settings,
    epochs=10,
    validation_split=0.2,
    folder=sys.argv[1] if len(sys.argv) > 1 else None,
    on_progress=lambda progress: print(f"{progress.done} of {progress.total} settings in {progress.seconds:.1f} s"),
)

print(result.best(5).to_string(index=False))  # of the table `result.summary`, one row a setting
print("\n".join(result.sensitivity().describe()))

best = result.model(int(result.best().setting[0]))  # a trained Keras model
loss, accuracy = best.evaluate(x[-359:], y[-359:], verbose=0)  # the validation rows: the last fifth
print(f"validation loss {loss:.4f}, accuracy {accuracy:.4f}")
