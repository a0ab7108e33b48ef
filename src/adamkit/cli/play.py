"""`adamkit play`: a page on this machine whose every slider answers with real training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adamkit.cli import hyperparameters, options
from adamkit.cli.options import OUTPUT

if TYPE_CHECKING:
    from adamkit.play.subject import Subject


@hyperparameters.with_values(before="without")
def play(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(help="The folder of a run, sweep or comparison: its model, data and settings.")
    ] = None,
    data: options.Data = "random",
    target: options.Target = None,
    validation_split: options.ValidationSplit = 0.0,
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
    trust_code: options.TrustCode = False,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen at. Any but this one can be reached from other machines; the page then needs "
            "the token in the address that is printed.",
            rich_help_panel=OUTPUT,
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port; 0 for a free one.", rich_help_panel=OUTPUT)] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page.", rich_help_panel=OUTPUT)
    ] = True,
    **hyperparameters: Any,
) -> None:
    """Turn the knobs of Adam and see the curve: a page whose every slider answers with real training.

    Without options: the example of `adamkit train`. The server listens on this machine alone, until Ctrl-C. The options
    of hyperparameters are what the sliders begin with.
    """
    from importlib.util import find_spec

    from adamkit.lab.errors import InputError

    if any(find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise InputError("play needs Starlette and Uvicorn; install them with: pip install 'adamkit[play]'")
    given = options.without_parts(options.given(context, "run", "trust_code", "host", "port", "browser"))
    try:
        subject, runs = _subject(run, given, trust_code=trust_code)
    except InputError as error:
        raise InputError(options.as_typed(str(error), given)) from error

    from adamkit.lab.interrupts import ctrl_c_raises
    from adamkit.play.server import Play
    from adamkit.play.serving import Serving

    serving = Serving(Play(subject, runs), host=host, port=port)
    print(f"play {serving.address}", flush=True)
    print("Ctrl-C ends it", flush=True)
    if browser:
        import webbrowser

        webbrowser.open(serving.address)
    with ctrl_c_raises():
        serving.run()


def _subject(run: Path | None, given: dict[str, Any], *, trust_code: bool) -> "tuple[Subject, Any]":
    """What is played with, and the runs that are there already."""
    from adamkit.lab.runs import Settings

    if run is None:
        settings = Settings(**given)
        options.use_backend(settings.backend)
        from adamkit.play import subject

        return subject.of_settings(settings), ()
    options.use_backend("jax")
    from adamkit.play import folders

    return folders.of_run(run, given, trust_code=trust_code)
