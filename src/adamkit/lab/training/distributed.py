"""Training on several devices: what a `keras.distribution` asks of a model and its data."""

from typing import Any

import keras

from adamkit.lab.errors import InputError


def checked(distribution: Any, model: keras.Model, batch_size: int, data: Any, validation: Any) -> Any:
    """The distribution to train by: the one that is given, else the one that is set for all of Keras, else None.

    Args:
        distribution: Given by the user, or None.
        model: Compiled.
        batch_size: Rows a step.
        data: (x, y, sample weights), the rows to train on.
        validation: Likewise, or None.

    Raises:
        TypeError: It is none of Keras's.
        InputError: Keras is not on JAX, the model was not made within its scope, or a batch cannot be shared equally.
    """
    given = distribution is not None
    if given and not isinstance(distribution, (keras.distribution.DataParallel, keras.distribution.ModelParallel)):
        raise TypeError(
            "distribution must be a keras.distribution.DataParallel or ModelParallel. Received: "
            f"{type(distribution).__name__}"
        )
    backend = keras.backend.backend()
    if given and backend != "jax":
        raise InputError(f"distribution must be None unless Keras is on JAX. Received: Keras on {backend}")
    distribution = distribution or (keras.distribution.distribution() if backend == "jax" else None)
    if distribution is None:
        return None
    mesh = distribution.device_mesh
    for variable in model.variables:
        if len(variable.value.devices()) < mesh.devices.size:
            raise InputError(
                "the model must be made and compiled within `with distribution.scope():`. Received: a model whose "
                f"{variable.path} is on {len(variable.value.devices())} of {mesh.devices.size} devices"
            )
    shares = distribution.num_model_replicas
    batches = {f"batch_size={batch_size}": batch_size}
    for name, part in {"train": data, "validate": validation}.items():
        last = 0 if part is None else len(keras.tree.flatten(part)[0]) % batch_size
        batches[f"a last batch of {last} rows to {name} on"] = last
    for received, rows in batches.items():
        if rows % shares:
            raise InputError(f"batch_size must give batches that {shares} devices share equally. Received: {received}")
    return distribution
