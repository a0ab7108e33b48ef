"""The command `adamkit`. Each command has a file of its own; frameworks are imported when a command runs."""

import os
import sys

import typer

from adamkit.cli.train import train

app = typer.Typer(
    name="adamkit",
    help="Adam, the optimizer: train a model and watch it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train)


@app.callback()
def _commands() -> None:
    """Keeps `train` a command by name while it is the only one."""


def main() -> None:
    """Run the command line: exit code 0, or 2 for wrong input, 1 for a failure of the machine, 130 for Ctrl-C."""
    try:
        sys.exit(app(standalone_mode=False))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(str(error), 1)
    except Exception as error:
        from adamkit.lab.errors import InputError

        if isinstance(error, InputError):
            _fail(str(error), 2)
        usage = getattr(error, "format_message", None)  # Typer's: an unknown option, text for a number
        if usage is not None:
            _fail(usage(), 2)
        raise


def _fail(message: str, code: int) -> None:
    print("adamkit: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
