"""Adam for Keras 3, on the JAX, TensorFlow and PyTorch backends."""

from adamkit.keras.adam import Adam

__all__ = ["Adam"]
