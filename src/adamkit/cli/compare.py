"""`adamkit compare`: optimizers side by side, each tuned alike."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamkit.cli import hyperparameters, options
from adamkit.cli.options import DATA, OUTPUT, TRAINING

if TYPE_CHECKING:
    from adamkit.lab.runs.comparisons import Plan

_COMPARISON = "Comparison"
_NO_OPTIONS = ("resume", "trust_code", "out", "report", "log", "json", "ray")  # of the comparison itself
_OF_PLAN = ("budget", "seeds", "objective", "goal", "check", "train_size", "label_noise", "audit")


@hyperparameters.with_values(before="shuffle", of=("training",))
def compare(
    context: typer.Context,
    optimizers: Annotated[
        str,
        typer.Option(
            help="Names with commas: adam, adamw, amsgrad, nadam, radam, cautious, blockwise, adopt, schedule-free, "
            "auto, adamax, rmsprop, adagrad, adadelta, sgd, momentum, nesterov, lion, or a class of keras.optimizers. "
            "Behind each may stand +cosine, +ema, +weight-decay.",
            rich_help_panel=_COMPARISON,
        ),
    ] = "adam,adamw,amsgrad,nadam,rmsprop,adagrad,sgd,momentum,lion",
    budget: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Settings of each optimizer; best a power of 2. Of an audit: of Adam; 256 by default.",
            rich_help_panel=_COMPARISON,
        ),
    ] = 32,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Runs of each of the best settings.", rich_help_panel=_COMPARISON)
    ] = 5,
    objective: Annotated[
        str | None,
        typer.Option(
            help="What settings are chosen by: a column of the validation part that is to be small, or, with a minus, "
            "large: -val_accuracy. Default: val_loss.",
            rich_help_panel=_COMPARISON,
        ),
    ] = None,
    goal: Annotated[
        float | None,
        typer.Option(
            help="Count epochs and seconds to this value of the objective. Default: what half of the optimizers reach.",
            rich_help_panel=_COMPARISON,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Look whether an optimizer loses to one that it contains, and so was tuned too little.",
            rich_help_panel=_COMPARISON,
        ),
    ] = False,
    audit: Annotated[
        bool,
        typer.Option(
            "--audit",
            help="Tune none of them, and say at which percentile of many settings of Adam each ends. Default of "
            "--optimizers: adam, schedule-free, auto.",
            rich_help_panel=_COMPARISON,
        ),
    ] = False,
    data: options.Data = "random",
    target: options.Target = None,
    validation_split: Annotated[
        float, typer.Option(help="The share of the rows that settings are chosen on.", rich_help_panel=DATA)
    ] = 0.2,
    test_split: Annotated[
        float, typer.Option(help="The share of the rows that results are reported on.", rich_help_panel=DATA)
    ] = 0.2,
    split: options.Split = "random",
    train_size: Annotated[
        int | None, typer.Option(metavar="N", help="Train on N rows only.", rich_help_panel=DATA)
    ] = None,
    label_noise: Annotated[
        float, typer.Option(help="Give this share of the rows to train on a wrong label.", rich_help_panel=DATA)
    ] = 0.0,
    model: options.Model = "mlp",
    loss: options.Loss = None,
    metrics: options.Metrics = None,
    epochs: options.Epochs = 10,
    shuffle: options.Shuffle = True,
    seed: Annotated[
        int, typer.Option(help="Of the weights, the order, the settings and the random data.", rich_help_panel=TRAINING)
    ] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the comparison in this folder; nothing is run twice.", rich_help_panel=OUTPUT),
    ] = None,
    ray: options.Ray = None,
    trust_code: options.TrustCode = False,
    out: options.Out = None,
    report: options.Report = True,
    log: options.Log = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one line of JSON an optimizer at the end, and one of the verdict; all else goes to standard "
            "error.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    **hyperparameters: Any,
) -> None:
    """Compare optimizers, each tuned alike: the same budget of settings, starts, order of the data and epochs.

    Settings are chosen on a validation part, results reported on a test part that chose nothing. The verdict is in
    sentences. With --audit nothing but Adam is tuned, and it says what not tuning costs. The folder holds every run
    after each epoch, and what is needed to go on after Ctrl-C (exit code 130).
    """
    from adamkit.lab.errors import InputError

    given = options.given(context, *_NO_OPTIONS)
    executor = options.executor(ray)
    options.use_backend("jax")
    from adamkit.lab.insight.reports import made
    from adamkit.lab.logs.named import names_in
    from adamkit.lab.logs.tables import send_comparison
    from adamkit.lab.runs import comparisons
    from adamkit.lab.runs.folder import RunFolder

    try:
        tools = names_in(log)
        if resume is None:
            plan, command = _plan(given), made.command("compare", given)
            folder = RunFolder.create(out, "compare")
        else:
            options.refuse_beside_resume(given, out)
            begun = RunFolder.open(resume)
            plan, command = comparisons.again(begun, trust_code=trust_code), begun.read_record().get("command")
            folder = RunFolder.take_up(resume)
        with folder:
            from adamkit.cli.audit_display import AuditDisplay
            from adamkit.cli.compare_display import CompareDisplay

            display = (AuditDisplay if plan.audit else CompareDisplay)(plan, folder, as_json=json)
            with display:
                result = comparisons.execute(
                    plan, folder, display.show, display.start, command=command, executor=executor
                )
    except InputError as error:
        raise InputError(options.as_typed(str(error), (*given, "log"), **options.OF_RAY)) from error
    display.finish(result)
    if report and len(result.summary):
        display.report(folder)
    display.send(send_comparison, tools, folder, _parameters(plan), result)
    display.finish_json(result)
    if result.described["interrupted"]:
        raise typer.Exit(130)


def _parameters(plan: "Plan") -> dict[str, Any]:
    """What all runs of a comparison have in common: no hyperparameter of Adam is."""
    from adamkit.lab.hyperparameters import names

    own = asdict(plan.settings) | {"budget": plan.budget, "seeds": plan.seeds, "optimizers": ",".join(plan.optimizers)}
    return {name: value for name, value in own.items() if name not in (*names(of="schedule"), *names(of="adam"))}


def _plan(given: dict[str, Any]) -> "Plan":
    from adamkit.lab import runs
    from adamkit.lab.comparing.audit import BUDGET, DEFAULT
    from adamkit.lab.comparing.optimizers import checked
    from adamkit.lab.runs import comparisons

    given = {
        "epochs": comparisons.EPOCHS,
        "validation_split": comparisons.SPLIT,
        "test_split": comparisons.SPLIT,
    } | given
    of_plan: dict[str, Any] = {name: given.pop(name) for name in _OF_PLAN if name in given}
    if of_plan.get("audit"):
        given.setdefault("optimizers", DEFAULT)
        of_plan.setdefault("budget", BUDGET)
    if "optimizers" in given:
        names = [name.strip() for name in given.pop("optimizers").split(",") if name.strip()]
        checked(names)  # before there is a folder
        of_plan["optimizers"] = names
    return comparisons.Plan(runs.Settings(**given), **of_plan)
