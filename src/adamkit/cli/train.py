"""`adamkit train`: train a model with Adam and show loss and accuracy after each epoch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamkit.cli import hyperparameters, options
from adamkit.cli.options import OUTPUT, TRAINING

if TYPE_CHECKING:
    from adamkit.lab.runs import Settings
    from adamkit.lab.runs.folder import RunFolder


@hyperparameters.with_values(before="without")
def train(
    context: typer.Context,
    data: options.Data = "random",
    target: options.Target = None,
    validation_split: options.ValidationSplit = 0.0,
    test_split: options.TestSplit = 0.0,
    split: options.Split = "random",
    encode: options.Encode = True,
    model: options.Model = "mlp",
    loss: options.Loss = None,
    metrics: options.Metrics = None,
    without: options.Without = None,
    epsilon_hat: options.EpsilonHat = False,
    moment_dtype: options.MomentDtype = "float32",
    epochs: options.Epochs = 50,
    shuffle: options.Shuffle = True,
    seed: options.Seed = 0,
    backend: Annotated[
        str, typer.Option(help="Keras's backend: jax, tensorflow or torch.", rich_help_panel=TRAINING)
    ] = "jax",
    repeat: Annotated[
        Path | None,
        typer.Option("--from", help="Repeat the run in this folder; other options change it.", rich_help_panel=OUTPUT),
    ] = None,
    best_of: Annotated[
        Path | None,
        typer.Option(
            help="Train the best setting of the sweep in this folder; other options change it.", rich_help_panel=OUTPUT
        ),
    ] = None,
    out: options.Out = None,
    report: options.Report = True,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one line of JSON an epoch; all else goes to standard error.", rich_help_panel=OUTPUT
        ),
    ] = False,
    **hyperparameters: Any,
) -> None:
    """Train a model with Adam and show loss and accuracy after each epoch.

    Without options: the example, 1000 rows of random features with random labels and a network of one hidden layer.

    Ctrl-C ends the run after the epoch in progress, with everything saved, and exit code 130.
    """
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError
    from adamkit.lab.runs.folder import RunFolder

    if repeat is not None and best_of is not None:
        raise InputError("one of --from and --best-of must be given, not both")
    given = options.without_parts(options.given(context, "repeat", "best_of", "out", "report", "json"))
    earlier = None if repeat is None else RunFolder.open(repeat)
    try:
        settings = _settings(given, earlier, best_of)
    except InputError as error:
        raise InputError(options.as_typed(str(error), given)) from error
    options.use_backend(settings.backend)

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
    if report:
        display.report(folder)
    if result.interrupted:
        raise typer.Exit(130)


def _settings(given: dict[str, Any], earlier: "RunFolder | None", sweep: Path | None) -> "Settings":
    from adamkit.lab import runs
    from adamkit.lab.runs import sweeps
    from adamkit.lab.runs.folder import RunFolder

    if earlier is not None:
        return runs.again(earlier, **given)
    if sweep is not None:
        return sweeps.best_settings(RunFolder.open(sweep), **given)
    return runs.Settings(**given)
