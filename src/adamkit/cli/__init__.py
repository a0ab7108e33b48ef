"""The command `adamkit`. Each command has a file of its own; frameworks are imported when a command runs."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from typing import Annotated, NoReturn

import typer

from adamkit import __version__
from adamkit.cli.compare import compare
from adamkit.cli.explain import explain
from adamkit.cli.memory import memory
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

app = typer.Typer(
    name="adamkit",
    help="Adam, the optimizer: train a model and watch it, or many at once to see what each hyperparameter does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(memory)
app.command()(sweep)
app.command("range")(learning_rate_range)
app.command()(report)
app.command()(predict)
app.command()(trace)
app.command()(explain)
app.command()(compare)
app.command()(play)
app.command()(runs)
app.command()(verify)


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
    make_streams_writable()
    try:
        with _ending_like_ctrl_c():
            code = app(standalone_mode=False)
            sys.stdout.flush()
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        drop_output()
        sys.exit(1)
    except (OSError, MemoryError) as error:
        _fail(_described(error), 1)
    except Exception as error:
        from adamkit.lab.errors import InputError

        if isinstance(error, InputError):
            _fail(str(error), 2)
        usage = getattr(error, "format_message", None)  # Typer's: an unknown option, text for a number
        if usage is not None:
            _fail(usage(), 2)
        raise


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
def _ending_like_ctrl_c() -> Iterator[None]:
    """A request to end (SIGTERM) and a closed terminal (SIGHUP) do what Ctrl-C does, unless they are ignored."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
