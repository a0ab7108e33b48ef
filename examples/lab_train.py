"""Train a network on scikit-learn's handwritten digits, validate it after each epoch, and look at the history.

python examples/lab_train.py
"""

from adamkit import lab  # before Keras: it picks the JAX backend

# isort: split
import keras
import numpy as np
from sklearn.datasets import load_digits

from adamkit.keras import Adam

keras.utils.set_random_seed(0)  # of the initial weights; `seed` below is that of the order of the rows
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
model.compile(optimizer=Adam(learning_rate=0.003), loss="sparse_categorical_crossentropy", metrics=["accuracy"])

result = lab.train(model, x, y, epochs=20, batch_size=32, validation_split=0.2, seed=0)

history = result.history  # a pandas table, one row an epoch
print(history[["epoch", "loss", "accuracy", "val_loss", "val_accuracy"]].iloc[[0, 4, 9, 14, 19]].to_string(index=False))
best = history.loc[history.val_loss.idxmin()]
print(f"lowest validation loss {best.val_loss:.4f} in epoch {best.epoch:.0f}, accuracy {best.val_accuracy:.4f}")
