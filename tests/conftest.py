"""Keras reads its backend from the environment when it is first imported: JAX, unless the caller says otherwise."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
