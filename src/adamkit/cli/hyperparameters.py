"""An option for each hyperparameter that `adamkit.lab.hyperparameters` declares: its type, default, help and panel.

A command takes them as `**hyperparameters`, and a decorator puts the declared ones into its signature, where Typer
finds them. What was typed is read with `options.given`, as for every other option.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import typer

from adamkit.cli.options import ADAM, TRAINING
from adamkit.lab.hyperparameters import HYPERPARAMETERS, Hyperparameter

OF_A_RUN = ("schedule", "adam", "training")  # what a run with Adam has
_PANELS = {"training": TRAINING}  # of the help; Adam's, where it is not this

Command = TypeVar("Command", bound=Callable[..., None])


def with_values(*, before: str, of: tuple[str, ...] = OF_A_RUN) -> Callable[[Command], Command]:
    """Gives a command the options of a run: a number or a flag each.

    Args:
        before: The parameter that they stand before in the help.
        of: Whose hyperparameters; see `Hyperparameter.of`.
    """

    def option(known: Hyperparameter) -> inspect.Parameter:
        flag = _flag(known)
        name = f"{flag}/--no-{flag[2:]}" if known.kind == "flag" else flag
        declared = typer.Option(name, help=described(known), rich_help_panel=_PANELS.get(known.of, ADAM))
        return _parameter(known.name, Annotated[known.type, declared], known.default)

    return _with(option, before, of)


def with_ranges(
    *, before: str, panel: str, notes: Mapping[str, str], of: tuple[str, ...] = OF_A_RUN
) -> Callable[[Command], Command]:
    """Gives a command the options of a space: text that `adamkit.lab.spaces.parse` reads, None where not given.

    Args:
        before: The parameter that they stand before in the help.
        panel: Of the help.
        notes: What the help says besides, by name.
        of: Whose hyperparameters; see `Hyperparameter.of`.
    """

    def option(known: Hyperparameter) -> inspect.Parameter:
        text = described(known)
        if known.kind == "flag":
            text = f"{text.removesuffix('.')}: false, true or false,true."
        if known.name in notes:
            text = f"{text} {notes[known.name]}"
        declared = typer.Option(_flag(known), help=text, rich_help_panel=panel)
        return _parameter(known.name, Annotated[str | None, declared], None)

    return _with(option, before, of)


def described(known: Hyperparameter) -> str:
    """Its symbol and what it does, as the help and the docs' tables say it."""
    return f"{known.symbol}: {known.help[0].lower()}{known.help[1:]}" if known.symbol else known.help


def _with(
    option: Callable[[Hyperparameter], inspect.Parameter], before: str, of: tuple[str, ...]
) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY)  # as Typer gives them: the order is only that of the help
            for one in signature.parameters.values()
            if one.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        place = [one.name for one in own].index(before)
        own[place:place] = [option(known) for known in HYPERPARAMETERS.values() if known.of in of]
        command.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
        return command

    return decorate


def _flag(known: Hyperparameter) -> str:
    return f"--{known.name.replace('_', '-')}"


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
