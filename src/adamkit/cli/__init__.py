"""The command `adamkit`. Each command has a file of its own; frameworks are imported when a command runs."""

import contextlib
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

import typer

from adamkit import __version__
from adamkit.cli.check import check
from adamkit.cli.compare import compare
from adamkit.cli.explain import explain
from adamkit.cli.memory import memory
from adamkit.cli.options import WithRay
from adamkit.cli.play import play
from adamkit.cli.predict import predict
from adamkit.cli.range import learning_rate_range
from adamkit.cli.report import report
from adamkit.cli.runs import runs
from adamkit.cli.streams import drop_output, make_streams_writable
from adamkit.cli.sweep import sweep
from adamkit.cli.trace import trace
from adamkit.cli.train import train
from adamkit.cli.verify import verify
from adamkit.lab.interrupts import STATUS, Ending

app = typer.Typer(
    name="adamkit",
    help="Adam, the optimizer: train a model and watch it, or many at once to see what each hyperparameter does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(memory)
app.command(cls=WithRay)(sweep)
app.command("range")(learning_rate_range)
app.command()(report)
app.command()(predict)
app.command()(trace)
app.command()(explain)
app.command(cls=WithRay)(compare)
app.command()(play)
app.command()(runs)
app.command()(verify)
app.command()(check)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"adamkit {__version__}")
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keeps `train` a command by name while it is the only one."""


def main() -> None:
    """Run the command line: exit code 0, or 2 for wrong input, 1 for a failure of the machine, 130 for Ctrl-C."""
    try:
        with _ending_on_request() as ending, _warning_in_a_line():
            make_streams_writable()
            code = app(standalone_mode=False)
            sys.stdout.flush()
        sys.exit(STATUS if ending.asked else code)
    except KeyboardInterrupt:
        sys.exit(STATUS)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        drop_output()
        sys.exit(1)
    except (OSError, MemoryError) as error:
        _fail(_described(error), 1)
    except Exception as error:
        from adamkit.lab.errors import InputError

        if isinstance(error, InputError):
            _fail(str(error), 2)
        if type(error).__name__ in ("FloatingPointError", "InternalFloatingPointError"):  # the latter JAX's own
            _fail(f"JAX was told to stop at a number that is not finite (JAX_DEBUG_NANS, JAX_DEBUG_INFS): {error}", 1)
        usage = getattr(error, "format_message", None)  # Typer's: an unknown option, text for a number
        if usage is not None:
            _fail(usage(), 2)
        raise
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # of vl-convert, in Rust: too few files may be open
            _fail(f"no chart could be drawn: {error}", 1)
        raise


@contextlib.contextmanager
def _warning_in_a_line() -> Iterator[None]:
    """What the lab warns of is shown as the command's own warnings are, without a place in its source."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if issubclass(category, RuntimeWarning):
                print(f"adamkit: warning: {message}", file=sys.stderr, flush=True)
            else:
                show(message, category, *place, **options)

        warnings.showwarning = say
        yield


def _fail(message: str, code: int) -> NoReturn:
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
    if message:  # Typer's is empty where it has shown the help
        print("adamkit: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def _described(error: OSError | MemoryError) -> str:
    """The message without Python's "[Errno 28]"."""
    if isinstance(error, MemoryError):
        return f"out of memory: {error}" if str(error) else "out of memory"
    if error.strerror is None:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename else error.strerror


@contextlib.contextmanager
def _ending_on_request() -> Iterator[Ending]:
    """Ctrl-C, a request to end (SIGTERM) and a closed terminal (SIGHUP) do the same, unless they are ignored."""
    ending = Ending()

    def as_ctrl_c(signum: int, frame: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background jobs of a script
            ending(signum, frame)
        else:
            signal.raise_signal(signal.SIGINT)

    handlers = {number: as_ctrl_c for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))}
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *handlers)}
    try:
        for number, handler in before.items():
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, handlers.get(number, ending))
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
