"""`adamkit sweep`: train a model with hundreds of settings of Adam's hyperparameters at once."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamkit.cli import hyperparameters, options
from adamkit.cli.options import OUTPUT, TRAINING

if TYPE_CHECKING:
    from adamkit.lab.runs import Settings
    from adamkit.lab.runs.sweeps import Plan

_SPACE = "Space: for each a VALUE, VALUES with commas, or LOW..HIGH[:log|linear][:POINTS]"
_DEFAULT, _DEFAULT_POINTS = "1e-5..1e-1", ":log:32"  # of the learning rate
_MOST_RUNS = 10_000  # without asking
_PROBED = 64  # settings that the speed is measured with
_NO_OPTIONS = ("resume", "trust_code", "out", "yes", "report", "log", "json", "ray")  # of the sweep itself


@hyperparameters.with_ranges(
    before="random",
    panel=_SPACE,
    notes={"learning_rate": f"Default, where nothing else varies: {_DEFAULT}{_DEFAULT_POINTS}."},
)
def sweep(
    context: typer.Context,
    random: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Draw N settings at random. Default: every combination.", rich_help_panel=_SPACE
        ),
    ] = None,
    sobol: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Draw N settings that leave few gaps; best a power of 2.", rich_help_panel=_SPACE
        ),
    ] = None,
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
    seeds: Annotated[int, typer.Option(metavar="N", help="Runs of each setting, each from a start of its own.")] = 1,
    same_start: Annotated[
        bool, typer.Option(help="All settings start from the same weights.", rich_help_panel=TRAINING)
    ] = True,
    same_order: Annotated[
        bool, typer.Option(help="All settings see the rows in the same order.", rich_help_panel=TRAINING)
    ] = True,
    objective: Annotated[
        str | None,
        typer.Option(
            help="What is to be small at the end, or, with a minus before it, large: -val_accuracy. "
            "Default: val_loss with a validation split, else loss.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    halving: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Successive halving: now and then only the best 1/N of the settings go on.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="N", help="End a run after N epochs without progress.", rich_help_panel=TRAINING),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the sweep in this folder; nothing is run twice.", rich_help_panel=OUTPUT),
    ] = None,
    ray: options.Ray = None,
    trust_code: options.TrustCode = False,
    out: options.Out = None,
    report: options.Report = True,
    log: options.Log = None,
    yes: Annotated[
        bool, typer.Option("--yes", help=f"Do not ask before more than {_MOST_RUNS:,} runs.", rich_help_panel=OUTPUT)
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one line of JSON a setting at the end; all else goes to standard error.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    **hyperparameters: Any,
) -> None:
    """Train a model with many settings of Adam's hyperparameters, as one program, and show what each of them does.

    Without options: the example of `adamkit train` with 32 learning rates. The folder holds the loss of every setting
    after each epoch, a summary, a report with charts, and what is needed to go on after Ctrl-C (exit code 130) or a
    kill.
    """
    from adamkit.lab.errors import InputError
    from adamkit.lab.insight.reports import made
    from adamkit.lab.logs.named import names_in
    from adamkit.lab.logs.tables import send_sweep
    from adamkit.lab.runs import sweeps
    from adamkit.lab.runs.folder import RunFolder

    given = options.given(context, *_NO_OPTIONS)
    try:
        tools = names_in(log)
        executor = options.executor(ray)
        command = made.command("sweep", given)
        given = options.without_parts(given, as_text=True)
        if resume is None:
            plan = _plan(given, ask=not yes)
            folder = RunFolder.create(out, "sweep")
        else:
            options.refuse_beside_resume(given, out)
            begun = RunFolder.open(resume)
            plan, command = sweeps.again(begun, trust_code=trust_code), begun.read_record().get("command")
            folder = RunFolder.take_up(resume)
        with folder:
            options.use_backend("jax")

            from adamkit.cli.sweep_display import SweepDisplay

            display = SweepDisplay(plan, folder, as_json=json)
            with display:
                result = sweeps.execute(plan, folder, display.show, command=command, executor=executor)
    except InputError as error:
        raise InputError(options.as_typed(str(error), (*given, "log"), **options.OF_RAY)) from error
    display.finish(result)
    if report and len(result.history):
        display.report(folder)
    display.send(send_sweep, tools, folder, _parameters(plan), result)
    if result.interrupted:
        raise typer.Exit(130)


def _parameters(plan: "Plan") -> dict[str, Any]:
    """What all runs of a sweep have in common."""
    own = asdict(plan.settings) | {"seeds": plan.seeds}
    return {name: value for name, value in own.items() if name not in plan.space[0]}


def _plan(given: dict[str, Any], *, ask: bool) -> "Plan":
    """What the options ask for; InputError where they are wrong, or where it is much and `ask` is set."""
    from adamkit.lab import runs
    from adamkit.lab.errors import InputError, shown
    from adamkit.lab.runs import sweeps
    from adamkit.lab.sweeping import spaces

    given = dict(given)
    draws = {method: given.pop(method) for method in spaces.METHODS if method in given}
    if len(draws) > 1:
        raise InputError("one of --random and --sobol must be given, not both")
    space = {name: spaces.parse(name, given.pop(name)) for name in spaces.HYPERPARAMETERS if name in given}
    fixed: dict[str, Any] = {
        name: values[0] for name, values in space.items() if isinstance(values, list) and len(values) == 1
    }
    if len(fixed) == len(space) and "learning_rate" not in space:
        space["learning_rate"] = spaces.parse("learning_rate", _DEFAULT + ("" if draws else _DEFAULT_POINTS))
    if len(fixed) < len(space):
        space = {name: values for name, values in space.items() if name not in fixed}
    else:
        fixed = {}  # one setting: all that was given is its name
    of_plan = {
        name: given.pop(name)
        for name in ("seeds", "same_start", "same_order", "objective", "halving", "patience")
        if name in given
    }
    settings = runs.Settings(**given, **fixed)
    for method, n in draws.items():
        if not 1 <= n <= spaces.MOST_RUNS:
            most = f"{spaces.MOST_RUNS:,}"
            raise InputError(f"--{method} must be a whole number >= 1 and <= {most}. Received: --{method}={shown(n)}")
    total = sum(draws.values()) or spaces.size(space)
    one = sweeps.Plan(settings, spaces.draw(space, 1, method="random"), **of_plan)  # checked before time is spent
    if total * one.seeds > spaces.MOST_RUNS or (ask and total * one.seeds > _MOST_RUNS):
        raise InputError(_question(settings, space, total, one.seeds))
    drawn = [spaces.draw(space, n, method=method, seed=settings.seed) for method, n in draws.items()]
    return replace(one, space=drawn[0] if drawn else spaces.grid(space))


def _question(settings: "Settings", space: dict[str, Any], total: int, seeds: int) -> str:
    """How many runs it would be, and how long they would take at the speed of a few."""
    from adamkit.cli.display import duration
    from adamkit.lab.sweeping import spaces

    options.use_backend("jax")
    seconds = _seconds_a_run(settings, space) * total * seeds
    runs = f"{total:,} settings" + (f" × {seeds} seeds" if seeds > 1 else "")
    yes = "--yes to train them all, or " if total * seeds <= spaces.MOST_RUNS else ""
    return (
        f"this space has {runs}, which take about {duration(seconds)} here. Give {yes}--random 500 or --sobol 512 to "
        "train some"
    )


def _seconds_a_run(settings: "Settings", space: dict[str, Any]) -> float:
    """Measured on a few settings for one epoch, without compilation; with one program, so that is quick."""
    from adamkit.lab import runs
    from adamkit.lab.hyperparameters import names
    from adamkit.lab.sweeping import spaces
    from adamkit.lab.sweeping.sweeper import sweep as train

    own = {name: values for name, values in space.items() if name not in names(changes_program=True)}
    # Any value of a range will do: to list its points, of which there may be millions, takes long.
    own = {name: replace(v, points=None) if isinstance(v, spaces.Range) else v for name, v in own.items()}
    probed = spaces.draw(own or {"learning_rate": _DEFAULT}, _PROBED)
    prepared = runs.prepare(settings)
    x, y = prepared.train.x, prepared.train.y
    # The first compiles, and the second does not.
    _, seconds = (
        train(prepared.model, x, y, space=probed, epochs=1, batch_size=settings.batch_size).seconds for _ in range(2)
    )
    return seconds / len(probed) * settings.epochs
