"""Options that several commands have: of data, model and training. Those of hyperparameters: `cli/hyperparameters.py`.

The defaults are those of `adamkit.lab.runs.Settings`; the commands' signatures only show them in the help.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from adamkit import lab

DATA, MODEL, ADAM, TRAINING, OUTPUT = "Data", "Model", "Adam", "Training", "Output"  # panels of the help

Data = Annotated[
    str,
    typer.Option(
        help="random, digits, breast_cancer, wine, diabetes, mnist, fashion_mnist, cifar10, imdb, "
        "a .csv, .parquet or .npz file, module:function or file.py:function.",
        rich_help_panel=DATA,
    ),
]
Target = Annotated[str | None, typer.Option(help="The column, or array, of a file to predict.", rich_help_panel=DATA)]
ValidationSplit = Annotated[
    float, typer.Option(help="The share of the rows to validate on, not train on.", rich_help_panel=DATA)
]
TestSplit = Annotated[
    float, typer.Option(help="The share of the rows to measure once, at the end.", rich_help_panel=DATA)
]
Split = Annotated[
    str,
    typer.Option(
        help="Which rows these are: random (each class in its share) or last (as they stand in the file); "
        "shuffled, as in runs of before.",
        rich_help_panel=DATA,
    ),
]
Encode = Annotated[
    bool,
    typer.Option(
        "--encode/--no-encode",
        help="Make text, dates and missing values of tables into numbers, and leave out what identifies rows.",
        rich_help_panel=DATA,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="mlp, logistic, cnn, a .keras file, module:function or file.py:function. Of a .keras file the layers "
        "and weights are taken; its loss is not, and Adam starts anew.",
        rich_help_panel=MODEL,
    ),
]
Loss = Annotated[
    str | None, typer.Option(help="Keras's name of a loss. Default: what fits the target.", rich_help_panel=MODEL)
]
Metrics = Annotated[
    str | None,
    typer.Option(help="Keras's names of metrics, with commas. Default: what fits.", rich_help_panel=MODEL),
]
EpsilonHat = Annotated[
    bool,
    typer.Option(
        "--epsilon-hat/--no-epsilon-hat", help="Add ε before bias correction, as Keras.", rich_help_panel=ADAM
    ),
]
Without = Annotated[
    str | None,
    typer.Option(
        metavar="PARTS",
        help="Leave out parts of Adam, with commas: bias-correction, momentum (β₁ = 0), adaptivity.",
        rich_help_panel=ADAM,
    ),
]
MomentDtype = Annotated[
    str, typer.Option(help="How both moments are stored: float32, bfloat16 or int8.", rich_help_panel=ADAM)
]
OnNonfinite = Annotated[
    str,
    typer.Option(
        help="Where a gradient is not finite: propagate (NaN from then on), skip the step, or raise an error.",
        rich_help_panel=ADAM,
    ),
]
Epochs = Annotated[int, typer.Option(help="How often to go through the data.", rich_help_panel=TRAINING)]
Shuffle = Annotated[
    bool, typer.Option("--shuffle/--no-shuffle", help="A new order each epoch.", rich_help_panel=TRAINING)
]
Seed = Annotated[int, typer.Option(help="Of the weights, the order and the random data.", rich_help_panel=TRAINING)]
Out = Annotated[
    Path | None, typer.Option(help="The run's folder. Default: a new one in runs/.", rich_help_panel=OUTPUT)
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run the Python code that the earlier run names, also where it is new here or has changed.",
        rich_help_panel=OUTPUT,
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        metavar="TOOLS",
        help="Keep the run in these too, with commas: tensorboard, mlflow, wandb.",
        rich_help_panel=OUTPUT,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Train on the Ray cluster at HOST:PORT. Without an address: on that of RAY_ADDRESS, else on one of this "
        "machine alone.",
        rich_help_panel=OUTPUT,
    ),
]
Report = Annotated[
    bool, typer.Option("--report/--no-report", help="Leave a page of charts, report.html.", rich_help_panel=OUTPUT)
]


OF_RAY = {"executor": "--ray", "address": "--ray"}  # what `lab.Ray`'s errors name, as it is typed


class WithRay(TyperCommand):
    """A command that has `--ray` with or without an address, which Typer has no option for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give a bare `--ray` an empty address."""
        pairs = zip(args, [*args[1:], "-"], strict=False)  # of no arguments there is no pair
        args = [f"{one}=" if one == "--ray" and after[:1] == "-" else one for one, after in pairs]
        return super().parse_args(ctx, args)


def executor(ray: str | None) -> "lab.Ray | None":
    """What `--ray` asks for; None where it was not given."""
    from adamkit import lab
    from adamkit.lab.errors import InputError

    if ray is None:
        return None
    try:
        return lab.Ray(ray or None)
    except ModuleNotFoundError as error:
        raise InputError(f"--ray needs another package: {error}") from error
    except InputError as error:
        raise InputError(as_typed(str(error), (), **OF_RAY)) from error


def given(context: typer.Context, *without: str) -> dict[str, Any]:
    """The options that were typed, by name, but for some; `metrics` as a list."""
    typed = {
        name: value
        for name, value in context.params.items()
        if name not in without and str(context.get_parameter_source(name)).endswith("COMMANDLINE")
    }
    if typed.get("metrics") is not None:
        typed["metrics"] = [name.strip() for name in typed["metrics"].split(",") if name.strip()]
    return typed


_PARTS: dict[str, tuple[str, Any]] = {
    "bias-correction": ("bias_correction", False), "momentum": ("beta_1", 0.0), "adaptivity": ("adaptivity", False),
}  # fmt: skip


def without_parts(given: dict[str, Any], *, as_text: bool = False) -> dict[str, Any]:
    """What was typed, with the hyperparameters that `--without` stands for in its place.

    Args:
        given: As `given` returns it.
        as_text: Whether their values are text, as those of a sweep are.

    Raises:
        InputError: It names no part of Adam, or one that another option sets.
    """
    from adamkit.lab.errors import InputError, nearest

    given = dict(given)
    for part in (given.pop("without", None) or "").split(","):
        part = part.strip()
        if part and part not in _PARTS:
            accepted = ", ".join(_PARTS)
            raise InputError(f"--without must be among {accepted}. Received: {part!r}.{nearest(part, _PARTS)}")
        if part:
            name, value = _PARTS[part]
            if name in given:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"one of --without {part} and {flag} must be given, not both")
            given[name] = str(value).lower() if as_text else value
    return given


def refuse_beside_resume(given: Mapping[str, Any], out: Path | None) -> None:
    """InputError where another option was typed beside `--resume`."""
    from adamkit.lab.errors import InputError

    if given or out is not None:
        name = "out" if out is not None else next(iter(given))
        raise InputError(f"--resume must be given without --{name.replace('_', '-')}: it goes on with what was begun")


def as_typed(message: str, names: Iterable[str], **flags: str) -> str:
    """The message with `--beta-1` for beta_1, where that option was given; `flags` are options of other names."""
    for name in {*names, *flags}:
        flag = flags.get(name, f"--{name.replace('_', '-')}")
        message = re.sub(rf"(?<!-)\b{name}\b(?= must|=)", flag, message)
    return message


def use_backend(name: str) -> None:
    """Import Keras on that backend; what JAX compiles from now on is kept on disk. InputError where it is missing."""
    from importlib.util import find_spec

    from adamkit.lab.errors import InputError, reason

    if find_spec(name) is None:
        raise InputError(f"the backend {name} is not installed; install it with: pip install 'adamkit[{name}]'")
    os.environ["KERAS_BACKEND"] = name  # which Keras reads when it is imported
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow greets at length
    _import_keras()
    if name == "jax":
        import jax

        from adamkit.lab.training.compiled_programs import keep_on_disk

        try:
            jax.devices()
        except (RuntimeError, AssertionError) as error:  # the latter where the platform's plugin is not installed
            where = os.environ.get("JAX_PLATFORMS", "")
            raise InputError(f"JAX must find a device. Received: JAX_PLATFORMS={where!r}, {reason(error)}") from error
        keep_on_disk()


def _import_keras() -> None:
    """Without scikit-learn, which takes a third of the time, and which Keras needs for `keras.wrappers` alone."""
    hide = "sklearn" not in sys.modules and "keras" not in sys.modules
    if hide:
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # as if it were not installed
    try:
        import keras  # noqa: F401
    finally:
        if hide:
            del sys.modules["sklearn"]
