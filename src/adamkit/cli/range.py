"""`adamkit range`: the learning-rate range test, which suggests a learning rate within seconds."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamkit.cli import hyperparameters, options
from adamkit.cli.options import OUTPUT

if TYPE_CHECKING:
    from adamkit.cli.display import Output
    from adamkit.lab.runs import Prepared
    from adamkit.lab.runs.folder import RunFolder
    from adamkit.lab.sweeping.learning_rate_range import RangeResult

_RANGE = "Range"
_WIDTH, _HEIGHT = 64, 6  # characters of the chart


@hyperparameters.with_values(before="epsilon_hat", of=("adam", "training"))
def learning_rate_range(
    context: typer.Context,
    low: Annotated[
        float, typer.Option("--from", help="The learning rate of the first step.", rich_help_panel=_RANGE)
    ] = 1e-7,
    high: Annotated[
        float, typer.Option("--to", help="The learning rate of the last step.", rich_help_panel=_RANGE)
    ] = 10.0,
    steps: Annotated[int, typer.Option(help="How many steps.", rich_help_panel=_RANGE)] = 200,
    data: options.Data = "random",
    target: options.Target = None,
    encode: options.Encode = True,
    model: options.Model = "mlp",
    loss: options.Loss = None,
    epsilon_hat: options.EpsilonHat = False,
    moment_dtype: options.MomentDtype = "float32",
    seed: options.Seed = 0,
    out: options.Out = None,
    report: options.Report = True,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON; all else goes to standard error.", rich_help_panel=OUTPUT),
    ] = False,
    **hyperparameters: Any,
) -> None:
    """Raise the learning rate step by step, show the loss, and suggest a learning rate.

    The suggestion is a tenth of the rate at which the loss is smallest; where the loss grows again the steps are too
    large. It is a place to start from: `adamkit sweep` around it says more.
    """
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError, reason
    from adamkit.lab.runs.folder import RunFolder

    given = options.given(context, "low", "high", "steps", "out", "report", "json")
    try:
        settings = runs.Settings(**given)
        options.use_backend("jax")

        from adamkit.cli.display import Output
        from adamkit.lab import models
        from adamkit.lab.sweeping import learning_rate_range as lab

        with RunFolder.create(out, "range") as folder:
            prepared = runs.prepare(settings)
            rows = prepared.train
            try:
                result = lab.learning_rate_range(
                    prepared.model, rows.x, rows.y,
                    low=low, high=high, steps=steps, batch_size=settings.batch_size, seed=settings.seed,
                )  # fmt: skip
            except Exception as error:
                if settings.model in models.NAMES or isinstance(error, (InputError, OSError)):
                    raise
                raise InputError(f"the model {settings.model} could not be trained: {reason(error)}") from error
            _save(prepared, result, folder, {"low": low, "high": high, "steps": steps})
    except InputError as error:
        names = [*given, "steps"]
        raise InputError(options.as_typed(str(error), names, low="--from", high="--to")) from error
    output = Output(as_json=json)
    output.data_and_model(prepared.record | {"settings": asdict(settings)})
    output.adam(asdict(settings), without=["learning_rate"])
    _show(output, result, folder, low, high, steps)
    if report:
        output.report(folder)
    if json:
        found = {"suggested": result.suggested, "smallest": result.smallest, "steepest": result.steepest}
        output.json_line(
            {**found, "diverged": result.diverged, "steps": len(result.history), "folder": str(folder.path)}
        )


def _save(prepared: "Prepared", result: "RangeResult", folder: "RunFolder", asked: dict[str, float]) -> None:
    """`run.json`, and the losses as Parquet and CSV."""
    import numpy as np

    found = {"suggested": result.suggested, "smallest": result.smallest, "steepest": result.steepest}
    found = {name: value if value is not None and np.isfinite(value) else None for name, value in found.items()}
    ended = {"status": "done", "seconds": round(result.seconds, 3), "range": {**asked, **found}}
    folder.write_record(prepared.record | ended)
    folder.replace("history.csv", lambda path: result.history.to_csv(path, index=False))
    folder.write_history(result.history)  # last: the folder stays where this is there


def _show(output: "Output", result: "RangeResult", folder: "RunFolder", low: float, high: float, steps: int) -> None:
    import numpy as np

    from adamkit.cli.display import bars, can_draw, duration, figure, files

    history = result.history
    output.note(f"range  learning_rate {low:g} to {high:g} in {steps:,} steps")
    before = history.smoothed[history.learning_rate <= result.smallest].to_numpy()
    if len(before) and can_draw():
        width = max(min(_WIDTH, output.terminal.width - 12, steps), 2)
        # The first step of each column; where it had diverged, a cross.
        at = np.arange(width) * steps // width
        smoothed = np.where(np.isfinite(history.smoothed), history.smoothed, np.inf)
        values = np.concatenate([smoothed, np.full(steps - len(smoothed), np.inf)])[at]
        ends = float(before.min()), float(before.max())
        labels = [figure(ends[1]), *[""] * (_HEIGHT - 2), figure(ends[0])]
        for label, line in zip(labels, bars(values, *ends, height=_HEIGHT), strict=True):
            output.note(f"{label:>10} {line}")
        if result.suggested is not None:
            column = round(np.log(result.suggested / low) / np.log(high / low) * (width - 1))
            output.note(f"{'':11}{' ' * max(column, 0)}▲")
        output.note(f"{'':11}{low:<{width // 2}g}{high:>{width - width // 2}g}")
    ended = "ended" if result.diverged else "done"
    count = f"{len(history):,} of {steps:,}, where the loss diverged," if result.diverged else f"{steps:,} steps"
    output.note(f"{ended:7}{count} in {duration(result.seconds)}, with compilation")
    if len(before):
        output.note(
            f"loss   falls fastest at {result.steepest:.2g}; smallest, {figure(before.min())}, at {result.smallest:.2g}"
        )
    if result.suggested is None:
        output.warn("the loss falls by no more than its noise, so no rate is suggested; try more steps")
    else:
        output.note(f"try    {result.suggested:.2g}, a tenth of where the loss is smallest")
    output.note(f"saved  {folder.path}: {', '.join(files(folder.path))}")
    if result.suggested is not None:
        around = f"{result.suggested / 10:.2g}..{result.suggested * 10:.2g}:log:32"
        output.note(f"next   adamkit sweep --learning-rate {around}")
