"""`adamkit train`: train a model with Adam and show loss and accuracy after each epoch."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

# The defaults are those of `adamkit.lab.runs.Settings`; here they are only shown in the help.
_DATA, _MODEL, _ADAM, _TRAINING, _OUTPUT = "Data", "Model", "Adam", "Training", "Output"


def train(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help="random, digits, breast_cancer, wine, diabetes, mnist, fashion_mnist, cifar10, imdb, "
            "a .csv, .parquet or .npz file, module:function or file.py:function.",
            rich_help_panel=_DATA,
        ),
    ] = "random",
    target: Annotated[
        str | None, typer.Option(help="The column, or array, of a file to predict.", rich_help_panel=_DATA)
    ] = None,
    validation_split: Annotated[
        float, typer.Option(help="The share of the rows to validate on, not train on.", rich_help_panel=_DATA)
    ] = 0.0,
    model: Annotated[
        str,
        typer.Option(
            help="mlp, logistic, cnn, a .keras file, module:function or file.py:function. Of a .keras file the layers "
            "and weights are taken; its loss is not, and Adam starts anew.",
            rich_help_panel=_MODEL,
        ),
    ] = "mlp",
    loss: Annotated[
        str | None, typer.Option(help="Keras's name of a loss. Default: what fits the target.", rich_help_panel=_MODEL)
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Keras's names of metrics, with commas. Default: what fits.", rich_help_panel=_MODEL),
    ] = None,
    learning_rate: Annotated[float, typer.Option(help="η: the size of a step.", rich_help_panel=_ADAM)] = 0.001,
    beta_1: Annotated[
        float, typer.Option("--beta-1", help="β₁: decay of the mean of the gradients.", rich_help_panel=_ADAM)
    ] = 0.9,
    beta_2: Annotated[
        float, typer.Option("--beta-2", help="β₂: decay of the mean of their squares.", rich_help_panel=_ADAM)
    ] = 0.999,
    epsilon: Annotated[
        float, typer.Option(help="ε: added to the root of the second moment.", rich_help_panel=_ADAM)
    ] = 1e-7,
    weight_decay: Annotated[
        float, typer.Option(help="λ: decoupled weight decay, as in AdamW.", rich_help_panel=_ADAM)
    ] = 0.0,
    amsgrad: Annotated[
        bool, typer.Option("--amsgrad/--no-amsgrad", help="The AMSGrad variant.", rich_help_panel=_ADAM)
    ] = False,
    epsilon_hat: Annotated[
        bool,
        typer.Option(
            "--epsilon-hat/--no-epsilon-hat", help="Add ε before bias correction, as Keras.", rich_help_panel=_ADAM
        ),
    ] = False,
    moment_dtype: Annotated[
        str, typer.Option(help="How both moments are stored: float32 or bfloat16.", rich_help_panel=_ADAM)
    ] = "float32",
    epochs: Annotated[int, typer.Option(help="How often to go through the data.", rich_help_panel=_TRAINING)] = 50,
    batch_size: Annotated[int, typer.Option(help="Rows a step.", rich_help_panel=_TRAINING)] = 32,
    shuffle: Annotated[
        bool, typer.Option("--shuffle/--no-shuffle", help="A new order each epoch.", rich_help_panel=_TRAINING)
    ] = True,
    seed: Annotated[
        int, typer.Option(help="Of the weights, the order and the random data.", rich_help_panel=_TRAINING)
    ] = 0,
    backend: Annotated[
        str, typer.Option(help="Keras's backend: jax, tensorflow or torch.", rich_help_panel=_TRAINING)
    ] = "jax",
    repeat: Annotated[
        Path | None,
        typer.Option("--from", help="Repeat the run in this folder; other options change it.", rich_help_panel=_OUTPUT),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. Default: a new one in runs/.", rich_help_panel=_OUTPUT)
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one line of JSON an epoch; all else goes to standard error.", rich_help_panel=_OUTPUT
        ),
    ] = False,
) -> None:
    """Train a model with Adam and show loss and accuracy after each epoch.

    Without options: the example, 1000 rows of random features with random labels and a network of one hidden layer.

    Ctrl-C ends the run after the epoch in progress, with everything saved, and exit code 130.
    """
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError
    from adamkit.lab.run_folder import RunFolder

    given = {
        name: value
        for name, value in context.params.items()
        if name not in ("repeat", "out", "json") and str(context.get_parameter_source(name)).endswith("COMMANDLINE")
    }
    if metrics is not None:
        given["metrics"] = [name.strip() for name in metrics.split(",") if name.strip()]
    earlier = None if repeat is None else RunFolder.open(repeat)
    try:
        settings = runs.Settings(**given) if earlier is None else runs.again(earlier, **given)
    except InputError as error:
        raise InputError(_as_typed(str(error), given)) from error
    _use_backend(settings.backend)

    from adamkit.cli.display import Display

    display = Display(settings.epochs, as_json=json)
    with RunFolder.create(out) as folder:
        prepared = runs.prepare(settings)
        display.start(prepared)
        if earlier is not None and not given:
            for difference in runs.differences(earlier.read_record(), prepared.record):
                display.warn(f"the result may differ: {difference}")
        with display:
            result = runs.execute(prepared, folder, display.show)
    display.finish(result, folder.path)
    if earlier is not None and not given:
        try:
            display.compare(earlier.path, runs.first_difference(earlier, result.history))
        except InputError as error:
            display.warn(f"nothing to compare this run with: {error}")
    if result.interrupted:
        raise typer.Exit(130)


def _as_typed(message: str, names: Iterable[str]) -> str:
    """The message with `--beta-1` for beta_1, where that option was given."""
    for name in names:
        message = re.sub(rf"\b{name}\b(?= must|=)", f"--{name.replace('_', '-')}", message)
    return message


def _use_backend(name: str) -> None:
    """Keras reads its backend from the environment when it is imported."""
    from importlib.util import find_spec

    from adamkit.lab.errors import InputError

    if find_spec(name) is None:
        raise InputError(f"the backend {name} is not installed; install it with: pip install 'adamkit[{name}]'")
    os.environ["KERAS_BACKEND"] = name
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets at length
