"""The page inside of a notebook."""

import html
from typing import Any

from adamkit.lab.errors import InputError

_HEIGHT = 900  # pixels


class Page:
    """A page that is served by a thread of this process: shown where it stands at the end of a notebook's cell.

    Attributes:
        address: Of the page, on this machine.
    """

    def __init__(self, serving: Any):
        self._serving = serving
        self.address: str = serving.address

    def close(self) -> None:
        """End the server and what it trains."""
        self._serving.close()

    def _repr_html_(self) -> str:
        """The page in a frame."""
        address = html.escape(self.address)
        style = f"width: 100%; height: {_HEIGHT}px; border: 0"
        return (
            f'<iframe src="{address}" title="adamkit play" style="{style}"></iframe>'
            f'<p><a href="{address}" target="_blank" rel="noopener">Open it in a tab</a></p>'
        )

    def __repr__(self) -> str:
        return f"adamkit play at {self.address}; close() ends it"


def play(
    model: Any,
    x: Any,
    y: Any,
    *,
    epochs: int = 50,
    batch_size: int = 32,
    validation_data: tuple | None = None,
    validation_split: float = 0.0,
    shuffle: bool = True,
    seed: int = 0,
    port: int = 0,
) -> Page:
    """Serve a page whose every slider answers with a training of this model on these data.

    Every run starts with the weights that the model has now, and gives what `lab.train` would give; the model is left
    as it is. Needs Keras's JAX backend and the extra `play`.

    Args:
        model: Compiled; its loss and metrics are used, and its optimizer's hyperparameters, where it is an Adam, are
            what the sliders begin with.
        x: Inputs, as in `adamkit.lab.train`.
        y: Targets, likewise.
        epochs: Of a run, >= 1; the page can ask for fewer. Defaults to 50.
        batch_size: Rows a step at first, >= 1. Defaults to 32.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, evaluated after each epoch.
        validation_split: The share of the rows, 0 <= share < 1, to validate on: the last ones. Defaults to 0.
        shuffle: Whether to draw a new order of the rows for each epoch. Defaults to True.
        seed: Of that order. Defaults to 0.
        port: Of the server on this machine; 0 for a free one. Defaults to 0.

    Returns:
        The page, which a notebook shows; `close` ends it.

    Raises:
        TypeError: `model` is no Keras model, or the data are no arrays.
        ValueError: An argument is out of range, Keras does not run on JAX, or the model cannot be made again from its
            configuration.

    Example:
        >>> import keras, numpy as np
        >>> from adamkit import lab
        >>> from adamkit.keras import Adam
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(optimizer=Adam(learning_rate=0.1), loss="mse")
        >>> x = np.random.default_rng(0).random((64, 2), "float32")
        >>> page = lab.play(model, x, x.sum(axis=1), epochs=5)
        >>> page.address.startswith("http://127.0.0.1:")
        True
        >>> page.close()
    """
    from importlib.util import find_spec

    import keras

    if any(find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise InputError("play needs Starlette and Uvicorn; install them with: pip install 'adamkit[play]'")
    if keras.backend.backend() != "jax":
        raise InputError(f"play needs Keras on JAX. Received: Keras on {keras.backend.backend()}")

    from adamkit.play.server import Play
    from adamkit.play.serving import Serving
    from adamkit.play.subject import of_model

    subject = of_model(
        model, x, y, epochs=epochs, batch_size=batch_size, validation_data=validation_data,
        validation_split=validation_split, shuffle=shuffle, seed=seed,
    )  # fmt: skip
    serving = Serving(Play(subject), port=port, framed=True)
    serving.start()
    return Page(serving)
