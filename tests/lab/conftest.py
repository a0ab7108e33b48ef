import os

os.environ.setdefault("KERAS_BACKEND", "jax")  # what the lab trains on; before Keras is first imported
