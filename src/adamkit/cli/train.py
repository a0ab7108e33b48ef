"""`adamkit train`: train a model with Adam and show loss and accuracy after each epoch."""

from dataclasses import asdict
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
    on_nonfinite: options.OnNonfinite = "propagate",
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
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with the run in this folder, to the same bits, or with --epochs beyond its last one.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs between checkpoints. Default: as often as takes under 2 % of the time.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    trust_code: options.TrustCode = False,
    out: options.Out = None,
    report: options.Report = True,
    log: options.Log = None,
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

    Ctrl-C ends the run after the epoch in progress, with everything saved, and exit code 130; --resume goes on.
    """
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError
    from adamkit.lab.logs.named import named, names_in
    from adamkit.lab.logs.tool import DONE, INTERRUPTED, files_of
    from adamkit.lab.logs.watching import Watcher
    from adamkit.lab.runs.folder import RunFolder

    if repeat is not None and best_of is not None:
        raise InputError("one of --from and --best-of must be given, not both")
    without_influence = (
        "repeat",
        "best_of",
        "resume",
        "checkpoint_every",
        "trust_code",
        "out",
        "report",
        "log",
        "json",
    )
    given = options.without_parts(options.given(context, *without_influence))
    earlier = None if repeat is None else RunFolder.open(repeat)
    begun = None if resume is None else RunFolder.open(resume)
    try:
        tools = names_in(log)
        if begun is not None:
            if repeat is not None or best_of is not None:
                raise InputError("one of --resume, --from and --best-of must be given, not several")
            options.refuse_beside_resume({name: value for name, value in given.items() if name != "epochs"}, out)
            settings = runs.extended(begun, given.get("epochs"), trust_code=trust_code)
        else:
            settings = _settings(given, earlier, best_of, trust_code=trust_code)
    except InputError as error:
        raise InputError(options.as_typed(str(error), (*given, "log"))) from error
    options.use_backend(settings.backend)

    from adamkit.cli.display import Display

    display = Display(settings.epochs, as_json=json)
    with RunFolder.create(out) if resume is None else RunFolder.take_up(resume) as folder:
        prepared = runs.prepare(settings)
        if begun is not None:
            for difference in runs.changes(begun.read_record(), prepared.record):
                display.warn(f"the result may differ from that of a run that never stopped: {difference}")
        display.start(prepared)
        if earlier is not None and not given:
            for difference in runs.differences(earlier.read_record(), prepared.record):
                display.warn(f"the result may differ: {difference}")
        watcher = Watcher(named(tools, folder.path), folder.path.resolve().name, asdict(settings), display.warn)
        with watcher, display:
            result = runs.execute(
                prepared, folder, display.show, checkpoint_every=checkpoint_every, warn=display.warn, watcher=watcher
            )
    display.finish(result, folder.path)
    if earlier is not None and not given:
        try:
            display.compare(earlier.path, runs.first_difference(earlier, result.history))
        except InputError as error:
            display.warn(f"nothing to compare this run with: {error}")
    if report:
        display.report(folder)
    if tools:
        watcher.follow(result.history.to_dict("records"))  # a run that was done before has no new epoch
        ended = INTERRUPTED if result.interrupted else DONE
        display.logged(watcher.end(ended, result.test, files_of(folder.path)))
    if result.interrupted:
        raise typer.Exit(130)


def _settings(
    given: dict[str, Any], earlier: "RunFolder | None", sweep: Path | None, *, trust_code: bool
) -> "Settings":
    from adamkit.lab import runs
    from adamkit.lab.runs import sweeps
    from adamkit.lab.runs.folder import RunFolder

    if earlier is not None:
        return runs.again(earlier, trust_code=trust_code, **given)
    if sweep is not None:
        return sweeps.best_settings(RunFolder.open(sweep), trust_code=trust_code, **given)
    return runs.Settings(**given)
