"""`adamkit trace`: the arithmetic of Adam, step by step."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamkit.cli import hyperparameters, options
from adamkit.cli.options import ADAM, OUTPUT

if TYPE_CHECKING:
    from rich.console import Console

    from adamkit.lab.insight.trace import Trace
    from adamkit.lab.insight.weights import Recorded
    from adamkit.lab.runs.folder import RunFolder

_GRADIENTS, _STEPS = "0.5,0.5,-1", 50
_SHOWN = 12  # steps of a longer table: the first and last six
_COLUMNS = {"g": "g", "m": "m", "v": "v", "m_hat": "m̂", "v_hat": "v̂", "step": "step", "theta": "θ"}
_FORMATS = (".html", ".png", ".svg")
_TRACED = "What to trace"


@hyperparameters.with_values(before="epsilon_hat", of=("adam",))
def trace(
    context: typer.Context,
    function: Annotated[
        str | None,
        typer.Argument(
            help="quadratic, ravine, rosenbrock, beale, saddle or himmelblau; or the folder of a run of adamkit train, "
            "with --weight. Default: the gradients of --gradients.",
            metavar="[FUNCTION|RUN]",
        ),
    ] = None,
    gradients: Annotated[
        str, typer.Option(help="The gradient of each step, with commas, of one weight.", rich_help_panel=_TRACED)
    ] = _GRADIENTS,
    start: Annotated[
        str | None,
        typer.Option(
            help="θ before the first step, 0 by default; of a function x,y, or its own.", rich_help_panel=_TRACED
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(help="How many, on a function or of a run from its first.", rich_help_panel=_TRACED)
    ] = _STEPS,
    weight: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[INDEX]",
            help="Which weight of a run, by its variable's name in Keras: dense/kernel[3,1].",
            rich_help_panel=_TRACED,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="η: the size of a step. Default: 0.001, on a function 0.1.", rich_help_panel=ADAM),
    ] = None,
    epsilon_hat: options.EpsilonHat = False,
    step: Annotated[
        int | None,
        typer.Option(help="Show this step in full: each formula with the numbers in it.", rich_help_panel=OUTPUT),
    ] = None,
    trust_code: options.TrustCode = False,
    csv: Annotated[Path | None, typer.Option(help="A file for the whole table.", rich_help_panel=OUTPUT)] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="A .html, .png or .svg file: of a function the path on its contours, beside SGD, momentum, AdaGrad "
            "and RMSProp; of a weight its quantities over the steps.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    **hyperparameters: Any,
) -> None:
    """Show what Adam computes: the gradient, both moments, both corrected, the step and the weight, step by step.

    adamkit trace --gradients 0.5,0.5,-1 --step 3

    adamkit trace rosenbrock --steps 200 --plot path.html

    adamkit trace runs/mine --weight "dense/kernel[3,1]"

    Of a run, its first steps are trained again, and one weight is watched.
    """
    from adamkit.lab.errors import InputError

    given = options.given(context)
    own = {name: given[name] for name in given if name in hyperparameters or name in ("learning_rate", "epsilon_hat")}
    of_run: tuple[RunFolder, Recorded] | None = None
    try:
        _check_files(csv, plot)
        if function is not None and _is_run(function, weight):
            of_run = _recorded(function, given, own)
            traced = of_run[1].trace
        else:
            traced = _traced(function, gradients, start, steps, given, own)
        explained = None if step is None else [traced.explained(step, i) for i in range(len(traced.weights))]
    except InputError as error:
        raise InputError(options.as_typed(str(error), [*given, "steps", "weight"])) from error

    from rich.console import Console

    console = Console(markup=False, highlight=False, emoji=False)
    if of_run is not None:
        _show_run(console, *of_run)
    _show_header(console, traced, function if of_run is None else None)
    if explained is None:
        _show_table(console, traced)
    else:
        _show_in_full(console, traced, step or 1, explained)
    if csv is not None:
        from adamkit.lab import disk

        disk.replace(csv, lambda path: traced.history.to_csv(path, index=False))
        console.print(f"saved  {csv}")
    if plot is not None and of_run is not None:
        from adamkit.lab.insight.charts.trace import weight_over_steps

        console.print(f"saved  {_saved(weight_over_steps(traced.history), plot)}")
    elif plot is not None and function is not None:
        for line in _plotted(traced, function, plot):
            console.print(line)


def _is_run(given: str, weight: str | None) -> bool:
    """Whether a folder is meant, rather than the name of a function."""
    return weight is not None or Path(given).is_dir() or any(mark in given for mark in "/\\")


def _recorded(run: str, given: dict[str, Any], own: dict[str, Any]) -> "tuple[RunFolder, Recorded]":
    """Trains the run in a folder again; what it was made with is its own."""
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError
    from adamkit.lab.runs.folder import RunFolder

    for name in ("gradients", "start", *own):
        if name in given:
            raise InputError(f"one of a run and --{name.replace('_', '-')} must be given, not both")
    folder = RunFolder.open(run)
    settings = runs.again(folder, trust_code=given.get("trust_code", False))
    options.use_backend(settings.backend)
    from adamkit.lab.insight.weights import weight_of_run

    return folder, weight_of_run(settings, given.get("weight") or "", steps=given.get("steps"))


def _traced(
    function: str | None, gradients: str, start: str | None, steps: int, given: dict[str, Any], own: dict[str, Any]
) -> "Trace":
    from adamkit.lab.errors import InputError
    from adamkit.lab.insight.landscapes import landscape
    from adamkit.lab.insight.trace import trace as run

    if function is None:
        for name in ("steps", "plot", "weight"):
            if name in given:
                what = "the folder of a run" if name == "weight" else "a function, such as rosenbrock, or a run"
                raise InputError(f"--{name} must come with {what}. Received: none")
        return run(_numbers("--gradients", gradients), _numbers("--start", start or "0", 1), **own)
    if "gradients" in given:
        raise InputError("one of a function and --gradients must be given, not both")
    known = landscape(function)
    begin = known.start if start is None else _numbers("--start", start, 2)
    own = {"learning_rate": 0.1} | own
    return run(lambda theta: known.gradient(theta[0], theta[1]), begin, steps=steps, weights=("x", "y"), **own)


def _numbers(option: str, text: str, count: int | None = None) -> list[float]:
    from adamkit.lab.errors import InputError

    numbers = []
    for word in text.split(","):
        try:
            numbers.append(float(word))
        except ValueError as error:
            raise InputError(
                f"{option} must be numbers with commas between them. Received: {word.strip()!r} in {option}={text}"
            ) from error
    if count is not None and len(numbers) != count:
        raise InputError(f"{option} must be {count} {'number' if count == 1 else 'numbers: x,y'}. Received: {text}")
    return numbers


def _check_files(csv: Path | None, plot: Path | None) -> None:
    from adamkit.lab.errors import InputError, listed

    if plot is not None and plot.suffix.lower() not in _FORMATS:
        raise InputError(f"--plot must end in {listed(_FORMATS)}. Received: {plot}")
    for name, path in (("csv", csv), ("plot", plot)):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise InputError(f"--{name} must be a file in a folder that is there. Received: {str(path)!r}")


def _show_run(console: "Console", folder: "RunFolder", recorded: "Recorded") -> None:
    """Which weight, and whether what was trained again is the run."""
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError

    epochs = len(recorded.history)
    again = f"{'the first epoch' if epochs == 1 else f'the first {epochs} epochs'} trained again"
    console.print(f"{recorded.weight} of {folder.path}, {len(recorded.trace.steps)} of {recorded.total} steps")
    try:
        differs = runs.first_difference(folder, recorded.history)
    except InputError as error:
        console.print(f"{again}; nothing to compare with: {error}")
        return
    if differs is None:
        console.print(f"{again}, to the same bits as the run")
        return
    console.print(f"{again}, which differs from the run from epoch {differs} on")
    for line in runs.differences(folder.read_record(), recorded.record):
        console.print(f"  {line}")


def _show_header(console: "Console", traced: "Trace", function: str | None) -> None:
    from adamkit.lab.hyperparameters import HYPERPARAMETERS
    from adamkit.lab.insight.landscapes import landscape

    if function is not None:
        console.print(f"f(x, y) = {landscape(function).formula}")
    shown = ("learning_rate", "beta_1", "beta_2", "epsilon")
    parts = [
        f"{name} {value:g}" if name in shown else f"{name} {value}"
        for name, value in traced.hyperparameters.items()
        if name in shown or value != HYPERPARAMETERS[name].default
    ]
    parts += ["epsilon_hat True"] * traced.epsilon_hat
    if traced.kept_in is not None:
        parts.append(f"m and v kept as {traced.kept_in}")
    console.print(f"Adam   {', '.join(parts)}")


def _show_table(console: "Console", traced: "Trace") -> None:
    """A row a step and weight where they fit, and else a paragraph each."""
    from adamkit.lab.insight.trace import number

    rows = traced.history
    most = _SHOWN * len(traced.weights)
    shown = rows if len(rows) <= most else rows.iloc[[*range(most // 2), *range(len(rows) - most // 2, len(rows))]]
    names = ["t", *(["weight"] if len(traced.weights) > 1 else []), *_COLUMNS]
    table = [[_COLUMNS.get(name, "" if name == "weight" else name) for name in names]]
    for row in shown.to_dict("records"):
        table.append([str(row[name]) if name in ("t", "weight") else number(row[name], 5) for name in names])
    widths = [max(map(_seen, column)) for column in zip(*table, strict=True)]
    is_wide = not console.is_terminal or console.width >= sum(widths) + 2 * len(widths)
    if is_wide:
        console.print("  ".join(map(_right, table[0], widths)), style="bold", soft_wrap=True)
    for i, figures in enumerate(table[1:]):
        if len(shown) < len(rows) and i == most // 2:
            console.print("…")
        if is_wide:
            console.print("  ".join(map(_right, figures, widths)), soft_wrap=True)
            continue
        label = len(names) - len(_COLUMNS)
        console.print(", ".join([f"t {figures[0]}", *figures[1:label]]), style="bold")
        for title, text in zip(_COLUMNS.values(), figures[label:], strict=True):
            console.print(f"  {_right(title, 4)} {text}")


def _seen(text: str) -> int:
    """Columns on a terminal: the hat of m̂ is a character of no width."""
    return len(text.replace("\N{COMBINING CIRCUMFLEX ACCENT}", ""))


def _right(text: str, width: int) -> str:
    return " " * (width - _seen(text)) + text


def _show_in_full(console: "Console", traced: "Trace", step: int, explained: list[list[tuple[str, list[str]]]]) -> None:
    for weight, parts in zip(traced.weights, explained, strict=True):
        console.print(f"step {step}" + (f" of {weight}" if len(traced.weights) > 1 else ""), style="bold")
        for symbol, lines in parts:
            for i, line in enumerate(lines):
                head = f"{_right(symbol if i == 0 else '', 6)} = "
                width = max(console.width - len(head), 20) if console.is_terminal else len(line)
                for part in textwrap.wrap(line, width):
                    console.print(head + part, soft_wrap=True)
                    head = " " * len(head)


def _plotted(traced: "Trace", function: str, plot: Path) -> list[str]:
    """Draws the paths; says where each ends."""
    import numpy as np

    from adamkit.lab.insight import paths
    from adamkit.lab.insight.charts.trace import paths_on_contours
    from adamkit.lab.insight.landscapes import landscape

    known = landscape(function)
    points = np.stack([traced.steps[0].before, *(step.after for step in traced.steps)])
    own = paths.Path("Adam", traced.hyperparameters["learning_rate"], points)
    drawn = [own, *paths.others(known, tuple(points[0]), len(traced.steps))]
    written = _saved(paths_on_contours(function, known, drawn), plot)
    lines = [f"{'':9}{'η':>6}{'x':>12}{'y':>12}"]
    for path in drawn:
        x, y = path.points[-1]
        lines.append(f"{path.name:9}{path.learning_rate:>6g}{x:>12.4g}{y:>12.4g}")
    return [*lines, f"saved  {written}"]


def _saved(chart: Any, plot: Path) -> Path:
    from adamkit.lab.insight.charts import theme

    kind: Any = plot.suffix.lower().removeprefix(".")
    return theme.save(chart, plot.parent, plot.stem, [kind])[0]
